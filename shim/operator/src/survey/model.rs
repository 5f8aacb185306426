//! What is known of a sandbox after one look at the node.

use std::path::PathBuf;

use runsc_guard_node::paths::Place;
use runsc_guard_proto::guard::{Method, Progress};
use runsc_guard_sandbox::diagnostics::control::Control;
use runsc_guard_sandbox::processes::process::Role;
pub(crate) use runsc_guard_sandbox::resources::spec::Pod;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::procfs;
use serde::Serialize;

pub(crate) use super::state::State;

/// What speaks for a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sign {
    /// In words.
    pub(crate) what: String,
    /// For how long, where that is known.
    pub(crate) for_ms: Option<u64>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Container {
    /// Its id.
    pub(crate) id: String,
    /// Its bundle, if it is known.
    pub(crate) bundle: PathBuf,
}

/// One process of interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    /// Which.
    pub(crate) identity: Identity,
    /// What for.
    pub(crate) role: Role,
    /// R, S, D, T, ... of its first thread.
    pub(crate) state: char,
    /// Its age in milliseconds.
    pub(crate) age_ms: u64,
    /// The cgroup that keeps it frozen.
    pub(crate) frozen: Option<PathBuf>,
}

impl Task {
    /// It cannot run before somebody lets it.
    pub(crate) fn is_held(&self) -> bool {
        procfs::is_stopped(self.state) || self.frozen.is_some()
    }

    /// Why it cannot run, in words.
    pub(crate) fn hold(&self, name: &str) -> String {
        let pid = self.identity.pid;
        match &self.frozen {
            Some(folder) => format!("{name} {pid} frozen by {}", folder.display()),
            None if self.state == 't' => format!("{name} {pid} held by a tracer (state t)"),
            None => format!("{name} {pid} stopped (state {})", self.state),
        }
    }
}

/// What the guard of a sandbox says of it; see `proto/guard.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Word {
    /// Where the sandbox stands.
    #[serde(skip)]
    pub(crate) progress: Progress,
    /// The same in words; the name of the step while it is being ended.
    pub(crate) stage: String,
    /// Since the escalation began.
    pub(crate) escalating_ms: Option<u64>,
    /// By what it was found wedged.
    pub(crate) sign: Option<Sign>,
    /// What could not be killed, or is left.
    pub(crate) left: Vec<String>,
    /// What runs out: SIGKILL, Delete, Create.
    pub(crate) clocks: Vec<Waiting>,
    /// Requests without an answer.
    pub(crate) requests: Vec<Waiting>,
    /// What the real shim owes for longest.
    pub(crate) overdue: Option<Waiting>,
    /// A question whose last asking was not answered.
    pub(crate) unanswered: Option<String>,
    /// Since the real shim last did what it was asked.
    pub(crate) answered_ms_ago: Option<u64>,
    /// Its containers.
    pub(crate) containers: Vec<GuardsContainer>,
    /// The last that happened: how long ago, and what.
    pub(crate) last: Vec<(u64, String)>,
}

/// Something that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Waiting {
    /// What was asked for.
    #[serde(skip)]
    pub(crate) asked: Method,
    /// Its name.
    pub(crate) method: String,
    /// The container, with `/exec` where it is about one.
    pub(crate) about: String,
    /// For how long.
    pub(crate) waited_ms: u64,
    /// When it is over.
    pub(crate) due_in_ms: Option<u64>,
}

/// A container as the guard knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct GuardsContainer {
    /// Its id.
    pub(crate) id: String,
    /// Its status.
    pub(crate) status: String,
    /// How it ended.
    pub(crate) exit_status: Option<u32>,
    /// Processes exec'd in it.
    pub(crate) execs: u32,
}

/// Whether there is a guard, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Guard {
    /// The sandbox never had one.
    None,
    /// It had one, which is dead.
    Dead,
    /// It cannot be told whether one lives, or a real shim; why.
    Unknown(String),
    /// It lives and has not answered; why.
    Silent(Task, String),
    /// It lives and says this.
    Says(Task, Box<Word>),
}

impl Guard {
    /// The process, if it lives.
    pub(crate) fn task(&self) -> Option<&Task> {
        match self {
            Self::Silent(task, _) | Self::Says(task, _) => Some(task),
            Self::None | Self::Dead | Self::Unknown(_) => None,
        }
    }

    /// What it says.
    pub(crate) fn word(&self) -> Option<&Word> {
        match self {
            Self::Says(_, word) => Some(word),
            _ => None,
        }
    }
}

/// All that one look has found of a sandbox.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// containerd's namespace: the last folder of runsc's root.
    pub(crate) namespace: String,
    /// The sandbox's id.
    pub(crate) id: String,
    /// runsc's root.
    pub(crate) runsc_root: PathBuf,
    /// The pod.
    pub(crate) pod: Option<Pod>,
    /// Its containers, the root container first.
    pub(crate) containers: Vec<Container>,
    /// gVisor's version, as runsc has written it down.
    #[serde(skip)]
    pub(crate) version: Option<String>,
    /// The runsc that it runs, as a file of root's.
    #[serde(skip)]
    pub(crate) runsc: Option<PathBuf>,
    /// What runsc wrote last about the root container.
    pub(crate) status: Option<String>,
    /// The guard.
    pub(crate) guard: Guard,
    /// Where the guard's things lie.
    #[serde(skip)]
    pub(crate) place: Option<Place>,
    /// The real shims.
    pub(crate) real_shims: Vec<Task>,
    /// Where none is proved to keep it: shims that say they do, and work where this look cannot follow.
    #[serde(skip)]
    pub(crate) unplaced: Vec<i32>,
    /// The sentry.
    pub(crate) sentry: Option<Task>,
    /// It answers on its control socket. Asked only where its real shim has not answered: see [`judge::is_doubtful`].
    ///
    /// [`judge::is_doubtful`]: super::judge::is_doubtful
    #[serde(skip)]
    pub(crate) answers: bool,
    /// SIGKILL waits for the sentry, which does not take it.
    pub(crate) killed: bool,
    /// Gofers, exec'd processes' stand-ins and runsc commands.
    pub(crate) others: Vec<Task>,
    /// How many processes there are, stubs and shims included.
    pub(crate) pids: usize,
    /// Memory of sentry, gofers and shims.
    pub(crate) rss_bytes: u64,
    /// A shim started it (its bundle tells), so one ought to be there.
    pub(crate) managed: bool,
    /// Its guard lives, and none of its bundles is there any more: containerd has forgotten it.
    pub(crate) forgotten: bool,
    /// A shim above it, a guard, or runsc's files say that it is a sandbox.
    pub(crate) proved: bool,
}

impl Found {
    /// Its sentry's control socket; none without a sentry.
    pub(crate) fn control(&self) -> Option<Control> {
        let sentry = self.sentry.as_ref()?.identity;
        Some(Control { runsc_root: self.runsc_root.clone(), sandbox: self.id.clone(), sentry })
    }
}

/// A sandbox with the judgement on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sandbox {
    /// How it is.
    pub(crate) state: State,
    /// What speaks for that.
    pub(crate) signs: Vec<Sign>,
    /// What was found.
    #[serde(flatten)]
    pub(crate) found: Found,
}

impl Sandbox {
    /// Its age: of the sentry, or of the oldest of what is left.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        let Found { sentry, real_shims, others, guard, .. } = &self.found;
        let oldest = real_shims.iter().chain(others).chain(guard.task()).map(|task| task.age_ms).max();
        sentry.as_ref().map(|sentry| sentry.age_ms).or(oldest)
    }

    /// `namespace/name` of the pod.
    pub(crate) fn pod_name(&self) -> String {
        match &self.found.pod {
            Some(pod) => format!("{}/{}", pod.namespace, pod.name),
            None => "-".to_owned(),
        }
    }

    /// Whether `prefix` names this sandbox or one of its containers.
    pub(crate) fn is_named(&self, prefix: &str) -> bool {
        !prefix.is_empty()
            && (self.found.id.starts_with(prefix)
                || self.found.containers.iter().any(|one| one.id.starts_with(prefix)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
