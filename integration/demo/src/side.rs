//! With or without the guard.

use harness::Handler;
use std::time::Duration;

/// Short, so that the demonstration is; the default is 10 s.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(4);
/// With or without the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// gVisor's own shim.
    Unguarded,
    /// The guard before it.
    Guarded,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::Guarded => "guarded",
        }
    }

    pub(crate) fn handler(self) -> Handler {
        match self {
            Self::Unguarded => Handler::unguarded(self.name()),
            Self::Guarded => Handler::guarded(self.name())
                .guard("kill_deadline", &format!("\"{}ms\"", KILL_DEADLINE.as_millis())),
        }
    }
}
