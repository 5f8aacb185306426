//! What the operator is told.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::keys::{CauseKind, EscalationPhase};
use super::request::ProcessId;

/// What the operator is told, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A deadline passed: the escalation begins.
    Wedged {
        /// Which sign.
        cause: Cause,
        /// Since when the effect was waited for.
        waited: Duration,
    },
    /// The real shim is gone without having been told to go.
    RealShimDied,
    /// The node goes down, and its sandboxes with it.
    NodeGoesDown,
    /// The guard itself ran late by this much; every deadline has moved.
    Late(Duration),
    /// The sandbox is gone, this long after the escalation began; what is left all the same.
    Ended {
        /// Time since the escalation began.
        took: Duration,
        /// What is left.
        left: Vec<String>,
        /// Its release has not come back in its time: what is left will be known by [`Self::ReleasedLate`].
        unsure: bool,
    },
    /// The release that was late has come back; this is left.
    ReleasedLate(Vec<String>),
    /// These cannot be killed.
    Unkillable(Vec<String>),
    /// A Create hung and was torn down.
    CreateStuck {
        /// Which container.
        container: String,
        /// Where it hung.
        stuck: String,
    },
    /// Delete of a container that had ended had no effect, and it was released by itself; what is left all the same.
    ReleasedOne {
        /// Which container.
        container: String,
        /// Since when the Delete had been waited for.
        waited: Duration,
        /// What is left, and who holds it.
        left: Vec<String>,
    },
    /// The sandbox has not answered for this long, and nobody wants its end.
    Silent(Duration),
    /// containerd has forgotten the sandbox: the guard ends it.
    Forgotten,
    /// One that was called silent answers again, after this long.
    AnswersAgain(Duration),
}

impl Note {
    /// How far the escalation is that it tells of.
    pub const fn phase(&self) -> Option<EscalationPhase> {
        match self {
            Self::Wedged { .. } => Some(EscalationPhase::Begins),
            Self::Ended { .. } => Some(EscalationPhase::Ends),
            Self::Unkillable(_) => Some(EscalationPhase::Unkillable),
            Self::Silent(_) => Some(EscalationPhase::Silent),
            Self::Forgotten => Some(EscalationPhase::Forgotten),
            _ => None,
        }
    }

    /// The cause that it tells of.
    pub const fn cause(&self) -> Option<CauseKind> {
        match self {
            Self::Wedged { cause, .. } => Some(cause.kind()),
            Self::CreateStuck { .. } => Some(CauseKind::CreateStuck),
            Self::ReleasedOne { .. } => Some(CauseKind::DeleteStuck),
            Self::Silent(_) => Some(CauseKind::SilentReported),
            _ => None,
        }
    }
}

/// Why a sandbox is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGKILL had no effect; `acknowledged` tells whether the real shim, or the sentry itself, answered it.
    KillWithoutExit {
        /// Whose.
        process: ProcessId,
        /// Whether the SIGKILL was acknowledged.
        acknowledged: bool,
    },
    /// Delete did not return.
    DeleteStuck(ProcessId),
    /// The root container's Create did not return.
    CreateStuck(String),
    /// The root container has ended, its sentry has not.
    SentryLingers,
    /// The real shim died.
    RealShimDied,
    /// An operator asked for its end.
    Reaped,
    /// It did not answer for so long that the watchdog ends it.
    Silent,
}

impl Cause {
    /// Of which kind it is.
    pub const fn kind(&self) -> CauseKind {
        match self {
            Self::KillWithoutExit { acknowledged: true, .. } => CauseKind::KillWithoutExit,
            Self::KillWithoutExit { acknowledged: false, .. } => CauseKind::KillUnacknowledged,
            Self::DeleteStuck(_) => CauseKind::DeleteStuck,
            Self::CreateStuck(_) => CauseKind::CreateStuck,
            Self::SentryLingers => CauseKind::SentryLingers,
            Self::RealShimDied => CauseKind::RealShimDied,
            Self::Reaped => CauseKind::Reaped,
            Self::Silent => CauseKind::Silent,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillWithoutExit { process, acknowledged: true } => {
                write!(f, "SIGKILL to {process} was acknowledged and did not end it")
            }
            Self::KillWithoutExit { process, acknowledged: false } => {
                write!(f, "SIGKILL to {process} was not even acknowledged and did not end it")
            }
            Self::DeleteStuck(process) => write!(f, "Delete of {process} had no effect"),
            Self::CreateStuck(container) => write!(f, "Create of {container} did not return"),
            Self::SentryLingers => f.write_str("the root container has ended, its sentry has not"),
            Self::RealShimDied => f.write_str("the real shim is dead"),
            Self::Reaped => f.write_str("an operator asked for its end"),
            Self::Silent => f.write_str("it does not answer, and the watchdog is set to end it then"),
        }
    }
}
