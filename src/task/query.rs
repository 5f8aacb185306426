//! A query that callers share: one call in flight, and none at all for a while after one was late.

use core::time::Duration;

use crate::io::CallId;
use crate::policy::ASK_AGAIN_AFTER;
use crate::time::Time;

/// State of a process, or Pids or Stats of a container.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// The call in flight.
    call: Option<CallId>,
    /// When the last call was sent.
    sent: Time,
    /// The last call that came back had missed its time.
    missed: bool,
    /// Since when it has been answered with nothing but errors.
    failing: Option<Time>,
}

impl Query {
    pub(crate) const fn call(&self) -> Option<CallId> {
        self.call
    }

    pub(crate) const fn sent(&self) -> Time {
        self.sent
    }

    pub(crate) const fn failing_since(&self) -> Option<Time> {
        self.failing
    }

    /// Whether the real shim is late with this query, so that callers need not wait for it: it missed the time of the
    /// last call, or is missing that of the one in flight. (A caller's own short timeout says nothing about the real
    /// shim.)
    pub(crate) fn is_late(&self, now: Time, limit: Duration) -> bool {
        self.missed || self.is_overdue(now, limit)
    }

    /// Whether the last call has not been answered in its time.
    pub(crate) fn is_unanswered(&self, now: Time, limit: Duration) -> bool {
        if self.call.is_some() { self.is_overdue(now, limit) } else { self.missed }
    }

    /// Whether the real shim is not asked again for now, being late.
    pub(crate) fn rests(&self, now: Time, limit: Duration) -> bool {
        self.is_late(now, limit) && (self.call.is_some() || now < self.sent + ASK_AGAIN_AFTER)
    }

    pub(crate) const fn is_sent(&mut self, call: CallId, now: Time) {
        (self.call, self.sent) = (Some(call), now);
    }

    /// The call has come back; `failed` tells of an error that means something. An old call changes nothing.
    pub(crate) fn returned(&mut self, call: CallId, sent: Time, missed: bool, failed: bool) {
        if self.call == Some(call) {
            (self.call, self.missed) = (None, missed);
            self.failing = failed.then(|| self.failing.unwrap_or(sent));
        }
    }

    fn is_overdue(&self, now: Time, limit: Duration) -> bool {
        self.call.is_some() && now >= self.sent + limit
    }
}
