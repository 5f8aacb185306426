//! What is sent to the real shim, and what it says.

use alloc::string::String;

use super::request::ProcessId;
use crate::exit::Exit;

/// A request of ours to the real shim; numbered by the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Which connection to the real shim a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// The shared one.
    Control,
    /// The shared one for Waits, which must survive everything else.
    Wait,
    /// One of its own, so that cancelling it reaches the real shim (signals).
    Own,
}

/// By which way a request is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the real shim.
    Shim(ConnectionKind),
    /// To the sentry, past the real shim; where that does not take it, by [`ConnectionKind::Own`].
    Sentry,
}

/// A request of the guard's own to the real shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCall {
    /// Kill.
    Kill {
        /// To whom.
        process: ProcessId,
        /// The signal.
        signal: u32,
        /// To every process of the container.
        all: bool,
    },
    /// Delete.
    Delete(ProcessId),
    /// A request about this container that the real shim answers without a lock and without `runsc`: whether it
    /// answers anything at all.
    Greet(String),
    /// Shutdown.
    Shutdown,
}

/// What the real shim said to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success, with what the guard wants to know of it.
    Done(ResponseInfo),
    /// An error status. `not_found` is gRPC code 5.
    Failed {
        /// The process is unknown to the real shim or has ended.
        not_found: bool,
    },
    /// The connection ended before the answer.
    Lost,
}

/// The decoded part of a successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseInfo {
    /// Nothing of interest.
    Nothing,
    /// Create or Start: the pid.
    Pid(u32),
    /// State.
    State {
        /// The status.
        status: Status,
        /// The pid.
        pid: u32,
    },
    /// Wait or Delete: the exit.
    Exit(Exit),
}

/// A task's status on the wire (containerd api/types/task/task.proto).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not known.
    Unknown,
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Stopped,
    /// Paused.
    Paused,
    /// Being paused.
    Pausing,
}

impl Status {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Pausing => "pausing",
        }
    }
}

/// An event from the real shim; the shim keeps its bytes until the guard has said what to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `/tasks/exit`.
    Exit(ProcessId, Exit),
    /// `/tasks/start`, `/tasks/exec-started`, `/tasks/paused`, `/tasks/resumed` and their kin: what only a
    /// living process can do.
    Alive(ProcessId),
    /// Anything else.
    Other,
}

/// What to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The event that has just come in.
    AsReceived,
    /// An exit that the guard has established.
    Exit(ProcessId, Exit),
}
