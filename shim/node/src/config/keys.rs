//! The keys of `[guard]`, each in one row: how the file is read, the text of a refusal, what a pod may shorten by an
//! annotation, the reference and the example all follow from here.

use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;
use runsc_guard_core::policy::{ANSWER_MARGIN, Policy, Watchdog, limits};
use toml::de::DeValue;

use super::bounds::{self, Accepted, Bounds, DELETE_AND_SHUTDOWN, LEAST, Refused, up_to};
use super::values::{Config, LogFormat, StatsWay};
use crate::report::{KEPT, WEIGHT};

/// One key.
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    takes: Takes,
    /// Whether a pod may shorten it.
    for_pods: bool,
    meaning: &'static str,
    /// What stands for each `{}` in the meaning.
    figures: &'static [Figure],
}

/// What a key takes, and where that goes.
enum Takes {
    Duration(Bounds, fn(&mut Policy) -> &mut Duration),
    DurationOrNever(Bounds, fn(&mut Policy) -> &mut Option<Duration>),
    Boolean(fn(&mut Config) -> &mut bool),
    Program(fn(&mut Config) -> &mut String),
    Folder(fn(&mut Config) -> &mut PathBuf),
    Watchdog(fn(&mut Policy) -> &mut Watchdog),
    Stats(fn(&mut Config) -> &mut StatsWay),
    LogFormat(fn(&mut Config) -> &mut LogFormat),
}

/// A figure that another part of the program has.
enum Figure {
    Time(Duration),
    Count(u64),
}

/// No limit of containerd applies: the caller decides how long it waits.
const FREE: Bounds = up_to(Duration::from_secs(3600));
/// containerd's `task.state` timeout less the margin.
const QUERY: Bounds = up_to(limits::STATE.saturating_sub(ANSWER_MARGIN));
/// containerd's `metrics.shimstats` timeout less the margin.
const STATS: Bounds = up_to(limits::STATS.saturating_sub(ANSWER_MARGIN));
/// containerd's `shim.shutdown` timeout less the margin.
const SHUTDOWN: Bounds = up_to(limits::SHUTDOWN.saturating_sub(ANSWER_MARGIN));
/// All but the least that Shutdown needs.
const DELETE: Bounds = up_to(DELETE_AND_SHUTDOWN.saturating_sub(LEAST));
/// A silence that means something, up to a day.
const WATCHDOG: Bounds = Bounds { least: Duration::from_secs(1), most: Duration::from_secs(24 * 3600) };

/// All keys, in the order in which an error lists them.
pub static KEYS: [Key; 19] = [
    key(
        "shim",
        Takes::Program(|config| &mut config.shim),
        "The real shim, which the guard runs: a name on containerd's PATH, or an absolute path",
    ),
    key(
        "create_deadline",
        Takes::Duration(FREE, |policy| &mut policy.create_deadline),
        "Create; then what it began is torn down, and only that, and the error names the step that is \
         stuck",
    )
    .for_pods(),
    key(
        "start_deadline",
        Takes::Duration(FREE, |policy| &mut policy.start_deadline),
        "Start of a task; then an error, and nothing is torn down",
    )
    .for_pods(),
    key(
        "exec_deadline",
        Takes::Duration(FREE, |policy| &mut policy.exec_deadline),
        "Exec, Start of an exec, Update, Pause, Resume, ResizePty and CloseIO; then an error, and \
         nothing is torn down",
    )
    .for_pods(),
    key(
        "query_deadline",
        Takes::Duration(QUERY, |policy| &mut policy.query_deadline),
        "State and Pids; then they are answered from the guard's record (containerd waits {} for \
         State)",
    )
    .with(&[Figure::Time(limits::STATE)]),
    key(
        "stats_deadline",
        Takes::Duration(STATS, |policy| &mut policy.stats_deadline),
        "Stats; then an error (containerd waits {})",
    )
    .with(&[Figure::Time(limits::STATS)]),
    key(
        "stats",
        Takes::Stats(|config| &mut config.stats),
        "Who is asked for Stats: \"direct\" is the sentry itself, once it has proved for a container that it says what \
         gVisor's shim would, and the shim wherever it does not; \"shim\" is the shim always, with a process of runsc each \
         time",
    ),
    key(
        "signal_deadline",
        Takes::Duration(FREE, |policy| &mut policy.signal_deadline),
        "Signals other than SIGKILL; then they count as pending, and are delivered when that is \
         possible",
    )
    .for_pods(),
    key(
        "kill_deadline",
        Takes::Duration(FREE, |policy| &mut policy.kill_deadline),
        "SIGKILL to the exit, counted from the first: retries do not move it; then the sandbox is \
         ended",
    )
    .for_pods(),
    key(
        "hard_limit",
        Takes::DurationOrNever(FREE, |policy| &mut policy.hard_limit),
        "The same for one container of a pod while the sandbox answers and a sibling lives that \
         nobody has asked to end, since that goes with it",
    )
    .for_pods(),
    key(
        "delete_deadline",
        Takes::Duration(DELETE, |policy| &mut policy.delete_deadline),
        "Delete, through errors too; then the container is released by itself (for the root container \
         the sandbox is ended), and the answer is its exit",
    )
    .for_pods(),
    key(
        "shutdown_deadline",
        Takes::Duration(SHUTDOWN, |policy| &mut policy.shutdown_deadline),
        "Shutdown; it is answered by then (containerd waits {})",
    )
    .with(&[Figure::Time(limits::SHUTDOWN)]),
    key(
        "release_network",
        Takes::Boolean(|config| &mut config.release_network),
        "Take the pod's links from a sandbox that the kernel cannot kill, so that nobody answers on \
         an address that is given away",
    ),
    key(
        "abort_fuse",
        Takes::Boolean(|config| &mut config.abort_fuse),
        "Abort a hung FUSE connection that keeps a sandbox alive and that only this pod has mounted",
    ),
    key(
        "report_dir",
        Takes::Folder(|config| &mut config.report_dir),
        "What was seen of a wedged sandbox goes there, one JSON file each; the guard makes the \
         folder, and keeps the newest {} and {} MiB at most",
    )
    .with(&[Figure::Count(KEPT as u64), Figure::Count(WEIGHT >> 20)]),
    key(
        "log_format",
        Takes::LogFormat(|config| &mut config.log_format),
        "How the guard writes its lines, which containerd copies into its own log: \"logfmt\" as containerd does by \
         default, \"json\" as it does where its own format is \"json\". Lines of gVisor's shim are passed on as they are",
    ),
    key(
        "watchdog",
        Takes::Watchdog(|policy| &mut policy.watchdog),
        "A sandbox that stops answering, although nobody wants its end: \"report\" tells, \"kill\" \
         ends it as well",
    ),
    key(
        "watchdog_after",
        Takes::Duration(WATCHDOG, |policy| &mut policy.watchdog_after),
        "How long it must not have answered what containerd asks by itself",
    ),
    key(
        "allow_annotations",
        Takes::Boolean(|config| &mut config.allow_annotations),
        "Whether a pod may shorten its own deadlines",
    ),
];

/// Sets one key.
pub(super) fn set(config: &mut Config, name: &str, value: &DeValue<'_>) -> Result<(), Refused> {
    let key = KEYS.iter().find(|key| key.name == name).ok_or(Refused::Key)?;
    match key.takes {
        Takes::Duration(bounds, field) => *field(&mut config.policy) = bounds::duration(value, bounds)?,
        Takes::DurationOrNever(bounds, field) => {
            *field(&mut config.policy) = bounds::duration_or_never(value, bounds)?;
        }
        Takes::Boolean(field) => *field(config) = bounds::boolean(value)?,
        Takes::Program(field) => *field(config) = bounds::program(value)?,
        Takes::Folder(field) => *field(config) = bounds::folder(value)?.into(),
        Takes::Watchdog(field) => *field(&mut config.policy) = bounds::watchdog(value)?,
        Takes::Stats(field) => *field(config) = bounds::stats(value)?,
        Takes::LogFormat(field) => *field(config) = bounds::log_format(value)?,
    }
    Ok(())
}

/// The key that a pod may set by an annotation of this name.
pub(super) fn for_pods(annotation: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.for_pods && key.in_annotations() == annotation)
}

/// The names of all keys.
pub(super) fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}

const fn key(name: &'static str, takes: Takes, meaning: &'static str) -> Key {
    Key { name, takes, for_pods: false, meaning, figures: &[] }
}

impl Key {
    const fn for_pods(mut self) -> Self {
        self.for_pods = true;
        self
    }

    const fn with(mut self, figures: &'static [Figure]) -> Self {
        self.figures = figures;
        self
    }

    /// Sets it, unless that is longer than the operator wants: false then.
    pub(super) fn shorten(&self, policy: &mut Policy, to: Duration) -> bool {
        match self.takes {
            Takes::Duration(_, field) if to <= *field(policy) => *field(policy) = to,
            Takes::DurationOrNever(_, field) if field(policy).is_none_or(|most| to <= most) => {
                *field(policy) = Some(to);
            }
            _ => return false,
        }
        true
    }

    /// What it takes by itself; what depends on other keys is told by a refusal.
    pub fn accepted(&self) -> Accepted {
        match self.takes {
            Takes::Duration(bounds, _) => Accepted::Duration(bounds),
            Takes::DurationOrNever(bounds, _) => Accepted::DurationOrNever(bounds),
            Takes::Boolean(_) => Accepted::Boolean,
            Takes::Program(_) => Accepted::Program,
            Takes::Folder(_) => Accepted::Folder,
            Takes::Watchdog(_) => Accepted::Watchdog,
            Takes::Stats(_) => Accepted::Stats,
            Takes::LogFormat(_) => Accepted::LogFormat,
        }
    }

    /// What an operator gets by it.
    pub fn meaning(&self) -> String {
        self.figures.iter().fold(self.meaning.to_owned(), |text, figure| {
            let figure = match figure {
                Figure::Time(time) => format_duration(*time).to_string(),
                Figure::Count(count) => count.to_string(),
            };
            text.replacen("{}", &figure, 1)
        })
    }

    /// The last part of the annotation by which a pod may shorten it.
    pub fn annotation(&self) -> Option<String> {
        self.for_pods.then(|| self.in_annotations())
    }

    fn in_annotations(&self) -> String {
        self.name.replace('_', "-")
    }
}
