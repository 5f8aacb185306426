//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use runsc_guard_node::config::REPORT_DIR;

mod address;
mod examples;
mod install;
mod tell;
mod value;

pub(crate) use address::Address;
use examples::{
    CHECK_EXAMPLES, DOCTOR_EXAMPLES, DRILL_EXAMPLES, EXAMPLES, LS_EXAMPLES, METRICS_EXAMPLES, REAP_EXAMPLES,
    REPORTS_EXAMPLES, SHOW_EXAMPLES,
};
use install::{INSTALL_EXAMPLES, UNINSTALL_EXAMPLES};
pub(crate) use install::{Install, Node, Uninstall};
use tell::TELL_EXAMPLES;
pub(crate) use tell::{Taint, Tell};
use value::{seconds, socket};

use crate::containerd::distribution::Distribution;

/// Lists the gVisor sandboxes of this node, guarded or not, explains their state, and ends those that are stuck.
#[derive(Debug, Parser)]
#[command(name = "runsc-guard", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Args {
    /// In a container that shares the node's pids: where the node's root directory is mounted; all other paths are
    /// paths on the node
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// In a privileged pod that shares the node's pids: enter the mount and cgroup namespaces of process 1, or of PID
    /// if containerd has its own. `reap` in a pod needs this: an unmount below --root has no effect for containerd
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
    /// Another folder with runsc's state files (runsc's `--root`, including the namespace); the folders that running
    /// processes name and /run/containerd/runsc/* are always searched
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) runsc_root: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List sandboxes and their states
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(Ls),
    /// Show details of one sandbox
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// End sandboxes by force
    #[command(after_help = REAP_EXAMPLES, group = ArgGroup::new("which").required(true)
        .args(["ids", "wedged", "orphaned"]))]
    Reap(Reap),
    /// Show the reports of sandboxes that were ended
    #[command(after_help = REPORTS_EXAMPLES)]
    Reports(Reports),
    /// Check this node, and say how to fix what is wrong
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Print one line and exit with a status, for what acts on nodes
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Hang a throw-away sandbox, and measure how it is ended
    #[command(after_help = DRILL_EXAMPLES)]
    Drill(Drill),
    /// Print metrics of this node, or serve them to Prometheus
    #[command(after_help = METRICS_EXAMPLES)]
    Metrics(Metrics),
    /// Tell Kubernetes of this node's escalations, until SIGTERM: what the chart runs beside `metrics`
    #[command(after_help = TELL_EXAMPLES)]
    Tell(Tell),
    /// Install the guard on this node
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(Install),
    /// Remove the guard from this node
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
    /// A table that fits a terminal
    Table,
    /// A table with full ids, all signs and process ids
    Wide,
    /// A JSON array with everything that is known
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Ls {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// Refresh every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Text for people
    Text,
    /// JSON
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// Id of the sandbox or of one of its containers, or a unique prefix of it
    pub(crate) id: String,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
#[group(skip)]
pub(crate) struct Reap {
    /// Ids of sandboxes, or unique prefixes of them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Every wedged sandbox
    #[arg(long)]
    pub(crate) wedged: bool,
    /// Every sandbox whose shim or guard is dead
    #[arg(long)]
    pub(crate) orphaned: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Folder for the reports of sandboxes that have no guard
    #[arg(long, value_name = "FOLDER", default_value = REPORT_DIR)]
    pub(crate) report_dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Reports {
    /// Id of a sandbox, or the beginning of it: show only its reports, in full
    pub(crate) id: Option<String>,
    /// Keep running and print new reports, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
    /// Read only this folder, instead of the default and those of running guards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report_dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// containerd's socket; by default the one at which a known distribution's containerd listens, else
    /// /run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
    pub(crate) address: Option<PathBuf>,
    /// Whose containerd it is, where that is not to be recognised by what runs
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) distribution: Option<Distribution>,
    /// containerd's configuration file; by default the one that the running containerd was started with, else
    /// /etc/containerd/config.toml (on Talos /etc/cri/containerd.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) containerd_config: Option<PathBuf>,
    /// Only read this log of kubelet or containerd (`-`: standard input), and say whether its node has pods that do
    /// not end; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "fix")]
    pub(crate) logs: Vec<PathBuf>,
    /// Print what to add to containerd's configuration and to the `[guard]` table; writes no file
    #[arg(long, conflicts_with = "output")]
    pub(crate) fix: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// Exit as Nagios and its kin have it: 0 ok, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    pub(crate) nagios: bool,
    /// When to give up, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// containerd's socket; by default the one at which a known distribution's containerd listens, else
    /// /run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
    pub(crate) address: Option<PathBuf>,
}

/// By what a throw-away sandbox is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A pod where containerd has a CRI, else a task
    Auto,
    /// A pod, by containerd's CRI
    Cri,
    /// A task, by containerd's own API; needs no image
    Task,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Drill {
    /// Handler to try; by default the one that has the guard
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Option<String>,
    /// Under gVisor's own shim, to see what happens without the guard; the sandbox is then ended as `reap` would
    #[arg(long)]
    pub(crate) unguarded: bool,
    /// What to start
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) via: Via,
    /// containerd's socket; by default the one at which a known distribution's containerd listens, else
    /// /run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
    pub(crate) address: Option<PathBuf>,
    /// The shim's configuration (ConfigPath) for a task, where that is another one than a handler's
    #[arg(long, value_name = "FILE", conflicts_with = "handler")]
    pub(crate) config_path: Option<PathBuf>,
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
    /// Count only the reports in this folder, instead of the default and those of running guards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
