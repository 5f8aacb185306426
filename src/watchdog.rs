//! The watchdog's memory: since when a sandbox has been silent although nobody wants its end.

use crate::policy::{Policy, Watchdog as Setting};
use crate::time::Time;

/// What the watchdog thinks of the sandbox.
#[derive(Debug)]
pub(crate) struct Watchdog {
    is_on: bool,
    opinion: Opinion,
}

#[derive(Clone, Copy, Debug)]
enum Opinion {
    /// Nothing has spoken against it since then.
    Quiet(Time),
    /// Something has been unanswered since then.
    Suspects(Time),
    /// The same, and it has been reported.
    Reported(Time),
}

impl Watchdog {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self { is_on: policy.watchdog != Setting::Off, opinion: Opinion::Quiet(Time::default()) }
    }

    /// Something that was asked at `since` has not been answered in its time.
    pub(crate) fn suspect(&mut self, since: Time) {
        if let (Opinion::Quiet(heard), true) = (self.opinion, self.is_on) {
            self.opinion = Opinion::Suspects(since.max(heard));
        }
    }

    /// Since when the sandbox has been suspected, if that has not been reported yet.
    pub(crate) const fn suspects_since(&self) -> Option<Time> {
        match self.opinion {
            Opinion::Suspects(since) => Some(since),
            Opinion::Quiet(_) | Opinion::Reported(_) => None,
        }
    }

    /// When the sandbox was last known to answer; none once its silence has been reported.
    pub(crate) const fn answered_at(&self) -> Option<Time> {
        match self.opinion {
            Opinion::Quiet(heard) | Opinion::Suspects(heard) => Some(heard),
            Opinion::Reported(_) => None,
        }
    }

    /// Its silence since then is reported, once.
    pub(crate) const fn report(&mut self, since: Time) {
        self.opinion = Opinion::Reported(since);
    }

    /// It answers; since when it had been silent, if that was reported.
    pub(crate) const fn hear(&mut self, now: Time) -> Option<Time> {
        let before = self.opinion;
        self.opinion = Opinion::Quiet(now);
        match before {
            Opinion::Reported(since) => Some(since),
            Opinion::Quiet(_) | Opinion::Suspects(_) => None,
        }
    }
}
