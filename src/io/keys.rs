//! The names of what is told of an escalation, the same wherever it is told: fields of the log's lines and of the report,
//! labels of containerd's event and of the metrics. Whoever has one finds the others by it.

/// containerd's namespace. (The event has it in its envelope.)
pub const NAMESPACE: &str = "namespace";
/// The sandbox's id. (The event has it as its `sandbox_id`, the metrics count over all.)
pub const SANDBOX: &str = "sandbox";
/// One container's id, where it is about one.
pub const CONTAINER: &str = "container";
/// How far it is, an [`EscalationPhase`].
pub const PHASE: &str = "phase";
/// Why it is, a [`CauseKind`].
pub const CAUSE: &str = "cause";
/// The same in words.
pub const SIGN: &str = "sign";
/// How long had been waited before it.
pub const WAITED_MS: &str = "waited_ms";
/// A step, a [`StepKind`].
pub const STEP: &str = "step";
/// How long a step may take.
pub const BUDGET_MS: &str = "budget_ms";
/// How long a step, or all of it, has taken.
pub const TOOK_MS: &str = "took_ms";
/// What is left: how much, and in the report what.
pub const LEFT: &str = "left";
/// The report's file.
pub const REPORT: &str = "report";

/// Why a sandbox, or one container, is ended, or told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// SIGKILL was acknowledged and had no effect.
    KillWithoutExit,
    /// SIGKILL was not even acknowledged.
    KillUnacknowledged,
    /// Delete did not return, whether the whole sandbox was ended for it or the container released by itself.
    DeleteStuck,
    /// Create did not return, whether or not the whole sandbox went with it.
    CreateStuck,
    /// The root container has ended, its sentry has not.
    SentryLingers,
    /// The real shim died.
    RealShimDied,
    /// It did not answer for so long that the watchdog ends it.
    Silent,
    /// The watchdog has found it and is not set to end it.
    SilentReported,
    /// An operator asked for its end.
    Reaped,
    /// What was killed does not die, and no other cause was there before.
    Unkillable,
}

impl CauseKind {
    /// All of them, each at its place.
    pub const ALL: [Self; 10] = [
        Self::KillWithoutExit,
        Self::KillUnacknowledged,
        Self::DeleteStuck,
        Self::CreateStuck,
        Self::SentryLingers,
        Self::RealShimDied,
        Self::Silent,
        Self::SilentReported,
        Self::Reaped,
        Self::Unkillable,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillWithoutExit => "kill_without_exit",
            Self::KillUnacknowledged => "kill_unacknowledged",
            Self::DeleteStuck => "delete_stuck",
            Self::CreateStuck => "create_stuck",
            Self::SentryLingers => "sentry_lingers",
            Self::RealShimDied => "real_shim_died",
            Self::Silent => "silent",
            Self::SilentReported => "silent_reported",
            Self::Reaped => "reaped",
            Self::Unkillable => "unkillable",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A step, whichever container it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// Looks, and touches nothing.
    Diagnose,
    /// Kills the sandbox.
    KillSandbox,
    /// Kills the rest, too.
    KillAll,
    /// Kills what one Create began.
    KillCreate,
    /// Releases one container.
    ReleaseOne,
    /// Releases all.
    Release,
    /// Frees what cannot be killed.
    Unblock,
    /// Looks for the watchdog; the last, since it belongs to no escalation.
    Watch,
}

impl StepKind {
    /// All of them, each at its place.
    pub const ALL: [Self; 8] = [
        Self::Diagnose,
        Self::KillSandbox,
        Self::KillAll,
        Self::KillCreate,
        Self::ReleaseOne,
        Self::Release,
        Self::Unblock,
        Self::Watch,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Diagnose => "diagnose",
            Self::KillSandbox => "kill_sandbox",
            Self::KillAll => "kill_all",
            Self::KillCreate => "kill_create",
            Self::ReleaseOne => "release_one",
            Self::Release => "release",
            Self::Unblock => "unblock",
            Self::Watch => "look",
        }
    }
}

/// How far an escalation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscalationPhase {
    /// A deadline has passed.
    Begins,
    /// The sandbox is gone.
    Ends,
    /// Processes of it cannot be killed.
    Unkillable,
    /// It is silent, and nothing is done.
    Silent,
    /// containerd has forgotten it, and it is ended.
    Forgotten,
}

impl EscalationPhase {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Ends => "ends",
            Self::Unkillable => "unkillable",
            Self::Silent => "silent",
            Self::Forgotten => "forgotten",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_at_its_place_and_a_cause_is_found_by_its_name() {
        assert!(StepKind::ALL.into_iter().enumerate().all(|(at, kind)| kind as usize == at));
        for (at, kind) in CauseKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, CauseKind::named(kind.as_str())), (at, Some(kind)));
        }
        assert_eq!(CauseKind::named("SIGKILL"), None);
    }
}
