//! `hack/cluster`: a whole Kubernetes on this machine, and the guard in it as its users meet it: by the chart, with
//! kubectl, on a node that has the problem already.

mod cluster;
mod demo;
mod leaving;
mod parts;
mod stage;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};
use cluster::{Cluster, Layout};
use leaving::Leaving;
use parts::Programs;
use std::{process::ExitCode, time::Instant};

/// A Kubernetes of one node in namespaces of its own: etcd, API server, controller manager, scheduler, kubelet,
/// containerd with runc and gVisor, a registry
#[derive(Parser)]
#[command(name = "cluster", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start one, say how to use it, and end it at Ctrl-C
    Start,
    /// A hung pod of each class is deleted, and then freed
    Demo,
    /// What the pages say, word for word, end to end
    Test {
        /// Only install, a hung pod and uninstall
        #[arg(long)]
        short: bool,
        /// All but the parts whose names contain this
        #[arg(long, value_name = "WORD", conflicts_with = "short")]
        skip: Option<String>,
    },
}

fn main() -> ExitCode {
    let Options { what } = Options::parse();
    match run(what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode> {
    let leaving = Leaving::on_signals()?;
    let programs = Programs::find()?;
    let start = |layout: Layout| {
        let began = Instant::now();
        let cluster = Cluster::start(&programs, layout, &leaving)?;
        eprintln!("{:6.1} s  a cluster is ready: process {}", began.elapsed().as_secs_f64(), cluster.pid());
        Ok(cluster)
    };
    let done = match what {
        What::Start => start(Layout::Usual).map(|cluster| serve(&cluster)),
        What::Demo => start(Layout::Usual).and_then(|cluster| demo::demonstrate(&cluster)),
        What::Test { short, skip } => test::run(start, &test::Choice::of(short, skip)),
    };
    if leaving.is_wanted() { Ok(ExitCode::from(130)) } else { done }
}

/// Says how to use it, until somebody ends it.
fn serve(cluster: &Cluster) -> ExitCode {
    eprintln!("its logs: {}/log", cluster.folder().display());
    eprintln!("a shell on its node, with kubectl, helm, crane and ctr: {} -i", cluster.shell_line());
    eprintln!("Ctrl-C, or the end of process {}, ends all of it", cluster.pid());
    cluster.wait();
    ExitCode::SUCCESS
}
