//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::metrics::Address;

mod install;

use install::{INSTALL_EXAMPLES, UNINSTALL_EXAMPLES};
pub(crate) use install::{Install, Node, Uninstall};

const EXAMPLES: &str = "\
Examples:
  runsc-guard ls                        every gVisor sandbox on this node
  runsc-guard ls -o wide --watch        the same with signs and processes, again every 2 s
  runsc-guard show 3f2a                 all about the sandbox whose id begins with 3f2a
  runsc-guard reap --wedged --dry-run   what would be done about everything that is stuck
  runsc-guard reap --wedged --yes       do it, without asking
  runsc-guard reports                   what was seen of sandboxes before they were ended
  runsc-guard doctor                    is this node fit for the guard, and is something stuck
  runsc-guard metrics --listen [::]:9750  the node in numbers, for Prometheus";

const LS_EXAMPLES: &str = "\
States:
  starting    its Create is under way
  running     nothing speaks against it
  paused      by `runsc pause`, or containerd's Pause
  wedged      it cannot answer, or has not for long; SIGN tells why (`-o wide`, `show`)
  ending      its guard is ending it, or it is being closed
  ended       its processes are gone; containerd has not collected the exit yet
  unkillable  SIGKILL was sent and the kernel keeps it alive
  orphaned    whoever started it (real shim, guard) is dead
  unproven    claims to be a sandbox; neither a shim nor runsc's files vouch for it

Examples:
  runsc-guard ls                        a table
  runsc-guard ls -n k8s.io -o wide      pods only, with signs, processes and the last answer
  runsc-guard ls -o json | jq '.[] | select(.state == \"wedged\") | .id'
  runsc-guard ls --watch=5              again every 5 s";

const SHOW_EXAMPLES: &str = "\
Examples:
  runsc-guard show 3f2a                 by any unique prefix of the sandbox's id, or of a container's in it
  runsc-guard show 3f2a -o json         for a bug report or a script";

const REAP_EXAMPLES: &str = "\
What is done is what the guard does at a deadline: evidence into a report; SIGKILL, through
pidfds, to sentry, gofers and hung runsc commands; then to the real shim where it does not go on
by itself; then mounts, cgroups and files. Where a guard lives, it does this itself, so that
containerd hears the exits (137) from it. `--wedged` takes only what is still wedged at a second
look and does not answer three bounded `runsc state`.

Exit status: 0 all is gone; 1 something is left, or was refused; 2 wrong usage.

Examples:
  runsc-guard reap 3f2a --dry-run       what would be done
  runsc-guard reap 3f2a 77c1            end these two; asks first on a terminal
  runsc-guard reap --wedged --yes       end all that is stuck, unasked
  runsc-guard reap --orphaned -n k8s.io only what nobody manages any more, only in this namespace";

const REPORTS_EXAMPLES: &str = "\
Examples:
  runsc-guard reports                   one line for each, the newest last
  runsc-guard reports 3f2a              all that was seen of one sandbox
  runsc-guard reports --follow          tell of each as it comes
  runsc-guard reports -o json           as they were written, in an array";

const DOCTOR_EXAMPLES: &str = "\
Each line is ok, warn or fail, with what to do below it. It is done within 2 s, whatever hangs.
Logs, in text or JSON, may come from another node; reading them takes as long as they are.

Exit status: 0 nothing fails; 1 something does; 2 wrong usage.

Examples:
  runsc-guard doctor                    look at this node
  runsc-guard doctor -o json | jq '.[] | select(.level == \"fail\") | .remedy'
  runsc-guard doctor --fix              print what containerd's configuration needs
  journalctl -u kubelet -u containerd | runsc-guard doctor --logs -
  talosctl -n NODE logs cri | runsc-guard doctor --logs -";

const METRICS_EXAMPLES: &str = "\
Printed once, counters cover the guards that live now, and what they counted since they began.
With --listen, what ended guards had counted stays in the sums for as long as the server runs.
GET /metrics gives OpenMetrics to who accepts it, as Prometheus does, and Prometheus's older text
format to others; GET /healthz says that the server is there. Dashboard and alert rules for them
are in hack/monitoring.

Examples:
  runsc-guard metrics                   one look, in OpenMetrics
  runsc-guard metrics -o prometheus     for node_exporter's textfile collector
  runsc-guard metrics --listen 127.0.0.1:9750
  runsc-guard metrics --listen unix:/run/runsc-guard-metrics.sock";

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

/// As kubelet and crictl write it, too: `unix:///run/...`.
fn socket(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(text.strip_prefix("unix://").unwrap_or(text).into())
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

/// At least a tenth of a second: less would only burn.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be from 0.1 to 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn reap_takes_ids_or_one_kind() {
        let ok = |line: &str| Args::try_parse_from(line.split(' ')).is_ok();
        assert!(ok("runsc-guard reap a b") && ok("runsc-guard reap --wedged -y -n x --dry-run"));
        for wrong in
            ["runsc-guard reap", "runsc-guard reap a --wedged", "runsc-guard reap --wedged --orphaned"]
        {
            assert!(!ok(wrong), "{wrong}");
        }
    }

    #[test]
    fn doctor_takes_a_socket_in_both_forms_and_several_logs() {
        let doctor = |line: &str| match Args::try_parse_from(line.split(' ')).ok()?.command {
            Command::Doctor(doctor) => Some(doctor),
            _ => None,
        };
        let address = |line: &str| doctor(line).map(|doctor| doctor.address);
        assert_eq!(address("runsc-guard doctor"), Some("/run/containerd/containerd.sock".into()));
        assert_eq!(
            address("runsc-guard doctor --address unix:///run/k3s/c.sock"),
            Some("/run/k3s/c.sock".into())
        );
        let logs = doctor("runsc-guard doctor --logs a --logs -").unwrap().logs;
        assert_eq!(logs, [PathBuf::from("a"), "-".into()]);
        assert!(doctor("runsc-guard doctor --logs a --fix").is_none());
    }

    #[test]
    fn watch_has_a_default_and_bounds() {
        let watch = |line: &str| match Args::try_parse_from(line.split(' ')).ok()?.command {
            Command::Ls(ls) => ls.watch,
            _ => None,
        };
        assert_eq!(watch("runsc-guard ls --watch"), Some(Duration::from_secs(2)));
        assert_eq!(watch("runsc-guard ls --watch=0.5"), Some(Duration::from_millis(500)));
        assert_eq!(watch("runsc-guard ls --watch=0"), None);
    }
}
