//! Every deadline of the guard by its name, in one table.
//!
//! A timer is set where the state changes on which it depends, and cleared there. Those that depend on
//! several containers at once are armed in one pass at the end of an input (`escalation::judge`).

use crate::time::Time;

/// What is due. The order is that in which timers that expire together are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The guard ends with its node, whatever lives on.
    NodeShutdown,
    /// A real shim that has left in peace counts as one that has died.
    RealShimLeft,
    /// A question to the sentry has not come back.
    ProbeLost,
    /// A signal that was answered with an error is sent again.
    Resend,
    /// The release of one container has not come back.
    ReleaseLost,
    /// The sentry or the real shim is asked on behalf of a Kill or Delete.
    Probe,
    /// A Kill or a Delete has not had its effect.
    Effect,
    /// The root container has ended and its sentry has not.
    SentryLingers,
    /// A Create, or the teardown of what it began, has not come back.
    Create,
    /// The sandbox is silent though nobody wants its end.
    Watchdog,
    /// A step of the escalation or of the shutdown is over, or the next attempt to free what cannot be killed begins.
    Step,
    /// The guard has waited for a container long enough.
    Vacancy,
    /// containerd is to be asked whether it still knows the sandbox.
    Recall,
    /// A request is answered though the real shim has not answered it.
    Answer,
}

impl Timer {
    /// Every timer.
    pub const ALL: [Self; 14] = [
        Self::NodeShutdown,
        Self::RealShimLeft,
        Self::ProbeLost,
        Self::Resend,
        Self::ReleaseLost,
        Self::Probe,
        Self::Effect,
        Self::SentryLingers,
        Self::Create,
        Self::Watchdog,
        Self::Step,
        Self::Vacancy,
        Self::Recall,
        Self::Answer,
    ];

    /// Those that depend on several containers at once: who would pay, who holds a lock, what the sentry has said.
    pub(crate) const ARMED_IN_ONE_PASS: [Self; 7] = [
        Self::Resend,
        Self::ReleaseLost,
        Self::Probe,
        Self::Effect,
        Self::SentryLingers,
        Self::Create,
        Self::Watchdog,
    ];

    /// Those that run in normal service only: once the sandbox is being ended they are moot.
    pub(crate) fn of_service() -> impl Iterator<Item = Self> {
        [Self::RealShimLeft, Self::ProbeLost].into_iter().chain(Self::ARMED_IN_ONE_PASS)
    }
}

/// When each timer expires.
#[derive(Debug, Default)]
pub(crate) struct Timers([Option<Time>; Timer::ALL.len()]);

impl Timers {
    /// When a timer expires; `None` stops it.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        self.0[timer as usize] = at;
    }

    /// Sets a timer that several things share: the first of them counts.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Option<Time>) {
        let slot = &mut self.0[timer as usize];
        *slot = slot.iter().copied().chain(at).min();
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    pub(crate) fn has_expired(&self, timer: Timer, now: Time) -> bool {
        self.get(timer).is_some_and(|at| at <= now)
    }

    /// The timer that expires next.
    pub(crate) fn next(&self) -> Option<(Timer, Time)> {
        let set = Timer::ALL.into_iter().filter_map(|timer| Some((timer, self.get(timer)?)));
        set.min_by_key(|(_, at)| *at)
    }
}
