//! What the operator is told.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

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
    },
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

/// The sign by which a sandbox was found wedged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGKILL had no effect; `acknowledged` tells whether the real shim answered it.
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
