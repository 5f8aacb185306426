//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod address;
mod examples;
mod install;
mod value;

pub(crate) use address::Address;
use examples::{
    DOCTOR_EXAMPLES, EXAMPLES, LS_EXAMPLES, METRICS_EXAMPLES, REAP_EXAMPLES, REPORTS_EXAMPLES, SHOW_EXAMPLES,
};
use install::{INSTALL_EXAMPLES, UNINSTALL_EXAMPLES};
pub(crate) use install::{Install, Node, Uninstall};
use value::{seconds, socket};

/// Sees gVisor's sandboxes on this node, guarded or not, and ends those that are stuck.
#[derive(Debug, Parser)]
#[command(name = "runsc-guard", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Args {
    /// The node's root directory, as it is mounted here, in a container that shares the node's pids; all other
    /// paths are the node's own
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// In a privileged pod that shares the node's pids: enter the mounts and cgroups of process 1, or of PID where
    /// containerd has its own. `reap` needs it there: what is unmounted below --root stays mounted for containerd
    #[arg(long, global = true, value_name = "PID", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", conflicts_with = "root")]
    pub(crate) host: Option<u32>,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where to look.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Scope {
    /// Only sandboxes of this containerd namespace (`k8s.io` for pods)
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Look for runsc's files here too (with the namespace, as runsc's `--root`); the folders that running
    /// processes name and /run/containerd/runsc/* are always looked into
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) runsc_root: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the sandboxes
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(Ls),
    /// Tell all about one sandbox
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// End sandboxes, whatever state they are in
    #[command(after_help = REAP_EXAMPLES, group = ArgGroup::new("which").required(true)
        .args(["ids", "wedged", "orphaned"]))]
    Reap(Reap),
    /// Read what was seen of sandboxes before they were ended
    #[command(after_help = REPORTS_EXAMPLES)]
    Reports(Reports),
    /// Check this node, and say what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Tell the node in numbers, once or to Prometheus
    #[command(after_help = METRICS_EXAMPLES)]
    Metrics(Metrics),
    /// Put the guard onto this node
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(Install),
    /// Take it away again
    #[command(after_help = UNINSTALL_EXAMPLES)]
    Uninstall(Uninstall),
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions { shell: Shell },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man { folder: PathBuf },
    /// Print the configuration reference
    #[command(hide = true)]
    Configuration { form: Reference },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// What fits a terminal
    Table,
    /// Full ids, signs, processes
    Wide,
    /// An array of everything that is known
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Ls {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// Again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For reading
    Text,
    /// One object
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// The sandbox's id or that of a container in it, or a prefix that no other has
    pub(crate) id: String,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
#[group(skip)]
pub(crate) struct Reap {
    /// Sandboxes, by id or by a prefix that no other has
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Everything that is wedged
    #[arg(long)]
    pub(crate) wedged: bool,
    /// Everything whose shim or guard is dead
    #[arg(long)]
    pub(crate) orphaned: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Where reports go of sandboxes that have no guard
    #[arg(long, value_name = "FOLDER", default_value = "/var/log/runsc-guard")]
    pub(crate) report_dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Reports {
    /// Only of this sandbox, in full: its id, or the beginning of it
    pub(crate) id: Option<String>,
    /// Go on and tell of new ones, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
    /// Look into this folder only, instead of the default and those of living guards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report_dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// containerd's socket
    #[arg(long, value_name = "SOCKET", default_value = "/run/containerd/containerd.sock", value_parser = socket)]
    pub(crate) address: PathBuf,
    /// containerd's configuration; by default what the running one was started with, else
    /// /etc/containerd/config.toml (on Talos /etc/cri/containerd.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) containerd_config: Option<PathBuf>,
    /// Only read this log of kubelet's or containerd's (`-`: standard input), and tell whether its node has
    /// pods that do not end; may be given again
    #[arg(long, value_name = "FILE", conflicts_with = "fix")]
    pub(crate) logs: Vec<PathBuf>,
    /// Print what containerd's configuration and the [guard] table need; writes nothing
    #[arg(long)]
    pub(crate) fix: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exposition {
    /// OpenMetrics 1.0
    Openmetrics,
    /// Prometheus's text format
    Prometheus,
}

/// A form of the configuration reference; its manual page comes with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reference {
    /// A page
    Markdown,
    /// An example, each key at its default
    Toml,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Metrics {
    /// Serve over HTTP at HOST:PORT or unix:/PATH, until SIGTERM
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) listen: Option<Address>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "openmetrics", conflicts_with = "listen")]
    pub(crate) output: Exposition,
    /// Count the reports in this folder only, instead of the default and those of living guards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
