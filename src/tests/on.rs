//! What the fake real shim can be told to treat in a way of its own: a method, or SIGKILL, which is a Kill like no other.

use crate::io::{Method, Request, StepKind};
use crate::task;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Method(Method),
    Sigkill,
}

impl On {
    /// The kind of a request.
    pub(crate) fn of(request: &Request) -> Self {
        match request {
            Request::Kill { signal, .. } if *signal == task::SIGKILL => Self::Sigkill,
            _ => Self::Method(request.method()),
        }
    }
}

pub(crate) const STATE: On = On::Method(Method::State);
pub(crate) const CREATE: On = On::Method(Method::Create);
pub(crate) const START: On = On::Method(Method::Start);
pub(crate) const EXEC: On = On::Method(Method::Exec);
pub(crate) const PIDS: On = On::Method(Method::Pids);
pub(crate) const STATS: On = On::Method(Method::Stats);
/// Every signal but SIGKILL.
pub(crate) const KILL: On = On::Method(Method::Kill);
pub(crate) const SIGKILL: On = On::Sigkill;
pub(crate) const DELETE: On = On::Method(Method::Delete);
pub(crate) const SHUTDOWN: On = On::Method(Method::Shutdown);
pub(crate) const PAUSE: On = On::Method(Method::Pause);
pub(crate) const RESUME: On = On::Method(Method::Resume);
pub(crate) const UPDATE: On = On::Method(Method::Update);
pub(crate) const WAIT: On = On::Method(Method::Wait);
pub(crate) const CLOSE_IO: On = On::Method(Method::CloseIo);
pub(crate) const RESIZE_PTY: On = On::Method(Method::ResizePty);
pub(crate) const CHECKPOINT: On = On::Method(Method::Checkpoint);
pub(crate) const CONNECT: On = On::Method(Method::Connect);

/// What may be asked of the real shim, and may not come back. (Connect and what is private go no further than the guard.)
pub(crate) const METHODS: [On; 17] = [
    CREATE, START, EXEC, STATE, PIDS, STATS, UPDATE, PAUSE, RESUME, CHECKPOINT, RESIZE_PTY, CLOSE_IO, WAIT,
    SIGKILL, KILL, DELETE, SHUTDOWN,
];

/// Something that has not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lost {
    Request(On),
    Step(StepKind),
    Probe,
    Recall,
}
