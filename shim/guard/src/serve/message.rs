//! What the driver is told, by everybody else.

use runsc_guard_core::io::{CallId, Input, Method, Request as TaskRequest, RequestId};
use runsc_guard_proto::Envelope;
use tokio::signal::unix::SignalKind;
use ttrpc::{Request, Response};

use super::connection::Reply;
use runsc_guard_sandbox::diagnostics::control::Unanswered;
use runsc_guard_sandbox::diagnostics::usage::Reading;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::kernel::PidFd;

/// What the driver is told.
pub(crate) enum Message {
    /// A request came in.
    Request { id: RequestId, op: TaskRequest, request: Request, reply: Reply },
    /// Its caller is gone.
    Abandoned(RequestId),
    /// A real shim sent an answer.
    Received { connection: ConnectionId, stream: u32, response: Response },
    /// A call is answered in the real shim's place.
    Answered(Answered),
    /// The sentry was asked what a container uses, for a call.
    Used(CallId, Result<Reading, Unanswered>),
    /// The sentry was told to kill a container, for a call: whether it has taken that.
    Signalled(CallId, bool),
    /// A connection to the real shim ended.
    Disconnected(ConnectionId),
    /// The real shim published.
    Event(Envelope),
    /// Something for the state machine as it is.
    Input(Input),
    /// An operator looks.
    Status(Reply),
    /// Somebody counts.
    Metrics(Reply),
    /// A signal that came to the guard itself.
    Signal(SignalKind),
    /// These were killed and live on.
    AwaitDeath(Vec<(Identity, PidFd)>),
}

/// Number of a connection, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(super) u64);

/// An answer to a call.
pub(crate) struct Answered {
    pub(crate) call: CallId,
    pub(crate) method: Method,
    pub(crate) response: Response,
}
