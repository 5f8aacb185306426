//! The guard's own errors, and the one place that gives them their gRPC code.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::io::request::Method;

/// The codes that the guard answers with. Never UNAVAILABLE: CRI takes that for "gone", skips Delete and
/// leaks the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 4.
    DeadlineExceeded,
    /// 5.
    NotFound,
    /// 9.
    FailedPrecondition,
}

/// Why the guard itself refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The real shim has not answered in time.
    #[error(
        "guard: {method} of {id} not answered by the real shim within {w:?}; nothing was torn down, \
         Kill or Delete will end it by its deadline",
        w = rounded(.waited)
    )]
    Late {
        /// The method's name.
        method: Method,
        /// Container, or container/exec.
        id: String,
        /// How long.
        waited: Duration,
    },
    /// A SIGKILL or Delete has not had its effect yet; the guard ends it on schedule.
    #[error(
        "guard: {method} of {id} has had no effect for {w:?}; unless it still has, the guard ends the \
         sandbox in {e:?}, and a retry does not delay that",
        w = rounded(.waited), e = rounded(.ends_in)
    )]
    Pending {
        /// The method's name.
        method: Method,
        /// Container, or container/exec.
        id: String,
        /// How long.
        waited: Duration,
        /// When the guard acts.
        ends_in: Duration,
    },
    /// A SIGKILL or Delete has not had its effect, and nothing will be escalated for it alone.
    #[error(
        "guard: {method} of {id} has had no effect for {w:?}; the sandbox still answers and hard_limit \
         is off, so only ending the pod's root container will end it",
        w = rounded(.waited)
    )]
    PendingForever {
        /// The method's name.
        method: Method,
        /// Container, or container/exec.
        id: String,
        /// How long.
        waited: Duration,
    },
    /// A SIGKILL to an exec'd process has had no effect, and nothing is ever escalated for it alone.
    #[error(
        "guard: {method} of {id} has had no effect for {w:?}; the sandbox still answers, so its container is \
         left alone, and the exec'd process ends with it",
        w = rounded(.waited)
    )]
    ExecPending {
        /// The method's name.
        method: Method,
        /// Container/exec.
        id: String,
        /// How long.
        waited: Duration,
    },
    /// A Delete of what has ended has had no effect yet; the guard releases it by itself on schedule.
    #[error(
        "guard: Delete of {id} has had no effect for {w:?}; unless it still has, the guard releases this \
         container by itself in {e:?}, and a retry does not delay that",
        w = rounded(.waited), e = rounded(.ends_in)
    )]
    Releasing {
        /// The container.
        id: String,
        /// How long.
        waited: Duration,
        /// When the guard acts.
        ends_in: Duration,
    },
    /// A Create hung and was torn down.
    #[error(
        "guard: Create of {id} hung for {w:?} and was torn down; it was stuck in: {stuck}",
        w = rounded(.waited)
    )]
    CreateStuck {
        /// The container.
        id: String,
        /// How long.
        waited: Duration,
        /// Where it hung.
        stuck: String,
    },
    /// No such container or process.
    #[error("guard: no such process: {0}")]
    NotFound(String),
    /// The process has ended already.
    #[error("guard: process already finished: {0}")]
    Finished(String),
    /// The sandbox was ended, or is being ended.
    #[error("guard: {method} of {id} refused: its sandbox {why}")]
    Ending {
        /// The method's name.
        method: Method,
        /// Container, or container/exec.
        id: String,
        /// Which of the two, and why.
        why: &'static str,
    },
    /// Processes that cannot be killed.
    #[error(
        "guard: {method} of {id} impossible for now: SIGKILL was sent but the kernel keeps {} alive; \
         it is finished as soon as that ends",
        .left.join("; ")
    )]
    Unkillable {
        /// The method's name.
        method: Method,
        /// Container, or container/exec.
        id: String,
        /// Words for each process.
        left: Vec<String>,
    },
    /// The guard takes no more containers.
    #[error("guard: {0} refused: this guard is closing, a new one serves the sandbox")]
    Closing(String),
}

/// As precise as a person reads it.
fn rounded(duration: &Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl GuardError {
    /// The gRPC code.
    pub const fn code(&self) -> Code {
        match self {
            GuardError::Late { .. }
            | GuardError::Pending { .. }
            | GuardError::PendingForever { .. }
            | GuardError::ExecPending { .. }
            | GuardError::Releasing { .. }
            | GuardError::CreateStuck { .. } => Code::DeadlineExceeded,
            GuardError::NotFound(_) | GuardError::Finished(_) => Code::NotFound,
            GuardError::Ending { .. } | GuardError::Unkillable { .. } | GuardError::Closing(_) => {
                Code::FailedPrecondition
            }
        }
    }
}
