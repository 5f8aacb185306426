//! A request of containerd's on its way to the real shim, in whose place the sentry may be asked first.

use std::time::{Duration, Instant};

use runsc_guard_core::io::{CallId, ConnectionKind};
use ttrpc::{Request, Response};

/// The request.
pub(super) struct Forward {
    pub(super) call: CallId,
    pub(super) request: Request,
    pub(super) timeout: Duration,
    pub(super) connection: ConnectionKind,
}

impl Forward {
    /// With what is left of its time since then. None left at all would be no limit on the wire.
    pub(super) fn later(mut self, since: Instant) -> Self {
        self.timeout = self.timeout.saturating_sub(since.elapsed()).max(Duration::from_millis(1));
        self
    }
}

/// What follows from what the sentry has said to a call.
pub(super) enum Next {
    /// Nothing, for now or forever.
    Nothing,
    /// The call is answered.
    Answer(Response),
    /// The real shim is asked.
    Forward(Forward),
}
