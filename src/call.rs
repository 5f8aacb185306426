//! Requests that wait for their answers, and calls to the real shim that have not come back.

use alloc::vec::Vec;
use core::time::Duration;

use crate::io::{ProcessId, RequestId};
use crate::time::Time;

/// The methods that the guard speaks of, with the names they have on the wire.
pub(crate) type Method = &'static str;

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) kind: Kind,
    pub(crate) process: ProcessId,
    pub(crate) since: Time,
    /// When an answer is due whatever happens.
    pub(crate) due: Option<Time>,
}

/// What kind of request or call: what follows when it is late or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Start,
    Exec,
    State,
    Pids,
    Stats,
    Wait,
    Signal(u32),
    Delete,
    Shutdown,
    End,
    /// A signal to what has ended.
    KillEnded,
    /// Whether the real shim answers anything at all.
    Greeting,
    /// Forwarded without further thought.
    Plain(Method),
}

impl Kind {
    pub(crate) const fn method(self) -> Method {
        match self {
            Kind::Create => "Create",
            Kind::Start => "Start",
            Kind::Exec => "Exec",
            Kind::State => "State",
            Kind::Pids => "Pids",
            Kind::Stats => "Stats",
            Kind::Wait => "Wait",
            Kind::Signal(_) | Kind::KillEnded => "Kill",
            Kind::Delete => "Delete",
            Kind::Shutdown => "Shutdown",
            Kind::End => "delete",
            Kind::Greeting => "Checkpoint",
            Kind::Plain(method) => method,
        }
    }
}

/// A call to the real shim that has not come back.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) process: ProcessId,
    /// Who is answered by it.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) sent: Time,
    /// What went as `timeout_nano`; zero is none.
    pub(crate) timeout: Duration,
}
