//! What is known of a sandbox after one look at the node.

use std::path::PathBuf;

use runsc_guard_node::paths::Place;
use runsc_guard_proto::guard::{Method, Progress};
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::procfs;
use serde::Serialize;

/// How a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Its Create is under way.
    Starting,
    /// Nothing speaks against it.
    Running,
    /// Paused by runsc.
    Paused,
    /// It cannot answer, or has not for long.
    Wedged,
    /// Its guard is ending or closing it.
    Ending,
    /// Its processes are gone, its exit is not collected.
    Ended,
    /// Killed, and the kernel keeps it.
    Unkillable,
    /// Who started it is dead.
    Orphaned,
    /// Nobody vouches for it.
    Unproven,
}

impl State {
    /// Every one.
    pub(crate) const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Wedged,
        Self::Ending,
        Self::Ended,
        Self::Unkillable,
        Self::Orphaned,
        Self::Unproven,
    ];

    /// Its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Wedged => "wedged",
            Self::Ending => "ending",
            Self::Ended => "ended",
            Self::Unkillable => "unkillable",
            Self::Orphaned => "orphaned",
            Self::Unproven => "unproven",
        }
    }
}

/// What speaks for a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sign {
    /// In words.
    pub(crate) what: String,
    /// For how long, where that is known.
    pub(crate) for_ms: Option<u64>,
}

/// A pod, as CRI wrote it into the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    /// Its Kubernetes namespace.
    pub(crate) namespace: String,
    /// Its uid.
    pub(crate) uid: String,
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
    pub(crate) climbing_ms: Option<u64>,
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
            Self::None | Self::Dead => None,
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
    /// The sentry.
    pub(crate) sentry: Option<Task>,
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

/// The one sandbox that `prefix` means: a whole id before a prefix, a sandbox's own before a container's.
pub(crate) fn pick<'a>(sandboxes: &'a [Sandbox], prefix: &str) -> Result<&'a Sandbox, PickError> {
    let ranks: [&dyn Fn(&Sandbox) -> bool; 3] = [
        &|one| one.found.id == prefix,
        &|one| !prefix.is_empty() && one.found.id.starts_with(prefix),
        &|one| one.is_named(prefix),
    ];
    for rank in ranks {
        let mut meant = sandboxes.iter().filter(|one| rank(one));
        match (meant.next(), meant.next()) {
            (Some(one), None) => return Ok(one),
            (Some(one), Some(other)) => {
                let full = |one: &Sandbox| format!("{}/{}", one.found.namespace, one.found.id);
                return Err(PickError::Several(prefix.to_owned(), full(one), full(other)));
            }
            (None, _) => {}
        }
    }
    Err(PickError::None(prefix.to_owned()))
}

/// Why an id means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickError {
    /// Nothing begins so.
    #[error("no gVisor sandbox and no container in one has an id that begins with {0:?}; see runsc-guard ls")]
    None(String),
    /// More than one does.
    #[error("{0:?} is the beginning of several ids, {1} and {2} among them; add letters, or -n NAMESPACE")]
    Several(String, String, String),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A healthy unguarded sandbox.
    pub(crate) fn found(id: &str) -> Found {
        let task = |pid, role| Task {
            identity: Identity { pid, start_time: 1 },
            role,
            state: 'S',
            age_ms: 60_000,
            frozen: None,
        };
        Found {
            namespace: "k8s.io".into(),
            id: id.into(),
            runsc_root: "/run/containerd/runsc/k8s.io".into(),
            pod: None,
            containers: vec![
                Container { id: id.into(), bundle: "/b/root".into() },
                Container { id: format!("app-of-{id}"), bundle: "/b/app".into() },
            ],
            version: None,
            runsc: None,
            status: Some("running".into()),
            guard: Guard::None,
            place: None,
            real_shims: vec![task(10, Role::RealShim)],
            sentry: Some(task(11, Role::Sentry)),
            killed: false,
            others: vec![task(12, Role::Gofer), task(13, Role::Runsc("wait".into()))],
            pids: 20,
            rss_bytes: 30 << 20,
            managed: true,
            forgotten: false,
            proved: true,
        }
    }

    pub(crate) fn sandbox(id: &str, state: State) -> Sandbox {
        Sandbox { state, signs: Vec::new(), found: found(id) }
    }

    #[test]
    fn a_prefix_must_mean_one_sandbox() {
        let all =
            [sandbox("abc1", State::Running), sandbox("abd2", State::Running), sandbox("abc", State::Wedged)];
        let id = |prefix: &str| pick(&all, prefix).map(|one| one.found.id.clone());
        assert_eq!(id("abd").unwrap(), "abd2");
        assert_eq!(id("abc").unwrap(), "abc", "a whole id is no prefix");
        assert_eq!(id("app-of-abd").unwrap(), "abd2");
        assert!(matches!(id("ab"), Err(PickError::Several(..))));
        assert!(matches!(id("x"), Err(PickError::None(_))));
        assert!(matches!(id(""), Err(PickError::None(_))));
    }
}
