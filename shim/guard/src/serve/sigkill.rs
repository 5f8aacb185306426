//! A running container's SIGKILL, without the two programs that gVisor's shim starts for it, `runsc state` and `runsc kill`:
//! the sentry is told itself, on its control socket, which is what the second of them does.
//!
//! To the state machine this is a call to the real shim like any other. What the sentry does not take in time, or takes for
//! an error, is the real shim's: a second SIGKILL does no harm, and the shim has the words for what went wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runsc_guard_core::io::CallId;
use runsc_guard_sandbox::diagnostics::control::{Control, Unanswered};
use serde::de::IgnoredAny;
use tokio::sync::mpsc::UnboundedSender;

use super::forward::{Forward, Next};
use super::message::Message;
use super::watch::answer;
use super::{decode, encode};

/// How long the sentry is waited for. An answer takes a millisecond, a busy node's some tens.
const PATIENCE: Duration = Duration::from_millis(500);

/// Those that the sentry has not answered yet.
pub(super) struct Sigkills {
    open: BTreeMap<CallId, (Forward, Instant)>,
    reports: UnboundedSender<Message>,
}

impl Sigkills {
    pub(super) fn new(reports: UnboundedSender<Message>) -> Self {
        Self { open: BTreeMap::new(), reports }
    }

    /// A call is to be made: gives it back where it is the real shim's.
    pub(super) fn ask(&mut self, forward: Forward, control: Option<Control>) -> Option<Forward> {
        let (Some(control), Some(container)) = (control, decode::kill_of(&forward.request)) else {
            return Some(forward);
        };
        let (call, now, reports) = (forward.call, Instant::now(), self.reports.clone());
        self.open.insert(call, (forward, now));
        tokio::spawn(async move {
            let taken = tell(&control, &container, now + PATIENCE).await;
            let _ = reports.send(Message::Signalled(call, taken.is_ok()));
        });
        None
    }

    /// The sentry has taken it; or has not, and what the real shim is asked follows.
    pub(super) fn told(&mut self, call: CallId, is_taken: bool) -> Next {
        match self.open.remove(&call) {
            None => Next::Nothing,
            Some(_) if is_taken => Next::Answer(encode::ok(Vec::new())),
            Some((forward, since)) => Next::Forward(forward.later(since)),
        }
    }

    /// A call is given up.
    pub(super) fn forget(&mut self, call: CallId) {
        self.open.remove(&call);
    }
}

async fn tell(control: &Control, container: &str, until: Instant) -> Result<IgnoredAny, Unanswered> {
    answer(control.kill(container)?, until).await
}

#[cfg(test)]
mod tests;
