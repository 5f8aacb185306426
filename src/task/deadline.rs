//! A deadline that runs until its effect is there: the exit after a SIGKILL, or the end of a Delete.

use crate::time::Time;

/// Which effect of the two that a process can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// From SIGKILL to the exit.
    Exit,
    /// From Delete to its answer.
    Deletion,
}

impl Effect {
    pub(crate) const BOTH: [Self; 2] = [Self::Exit, Self::Deletion];
}

/// The deadline of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    since: Time,
    acknowledged: bool,
    refused: Option<Time>,
    spared: bool,
    asked_again: Option<Time>,
}

impl Deadline {
    pub(crate) const fn starting(now: Time) -> Self {
        Self { since: now, acknowledged: false, refused: None, spared: false, asked_again: None }
    }

    /// One of a request that need not be acknowledged, or was.
    pub(crate) const fn acknowledged_at(now: Time) -> Self {
        Self { acknowledged: true, ..Self::starting(now) }
    }

    /// The first request; moved by the time that did not count (see `escalation::locks`).
    pub(crate) const fn since(&self) -> Time {
        self.since
    }

    /// The real shim answered the request, be it with an error.
    pub(crate) const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// The deadline has passed and the sandbox was left alone, until the sentry is silent or `hard_limit`.
    pub(crate) const fn is_spared(&self) -> bool {
        self.spared
    }

    /// Spared, and asked for again since: from then on the sentry is asked again.
    pub(crate) const fn asked_again(&self) -> Option<Time> {
        self.asked_again
    }

    /// The real shim has answered what was sent at that time, with an error if it was `refused`.
    const fn acknowledge(&mut self, refused: Option<Time>) {
        (self.acknowledged, self.refused) = (true, refused);
    }

    const fn spare(&mut self) {
        (self.spared, self.asked_again) = (true, None);
    }

    /// The effect is asked for again: once spared, what was heard of the sentry is out of date.
    const fn ask_again(&mut self, now: Time) {
        if self.spared {
            self.asked_again = Some(now);
        }
    }

    /// The time from `began` to now did not count.
    fn excuse(&mut self, began: Time, now: Time) {
        self.since = self.since + (now - self.since.max(began));
    }
}

/// Those of one process.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    exit: Option<Deadline>,
    deletion: Option<Deadline>,
}

impl Deadlines {
    pub(crate) const fn of(&self, effect: Effect) -> Option<Deadline> {
        match effect {
            Effect::Exit => self.exit,
            Effect::Deletion => self.deletion,
        }
    }

    /// Whether any runs.
    pub(crate) const fn run(&self) -> bool {
        self.is_being_killed() || self.is_being_deleted()
    }

    /// Whether a SIGKILL was sent that has had no effect so far.
    pub(crate) const fn is_being_killed(&self) -> bool {
        self.exit.is_some()
    }

    /// Whether a Delete was sent that has had no effect so far.
    pub(crate) const fn is_being_deleted(&self) -> bool {
        self.deletion.is_some()
    }

    /// An effect is waited for, from now on if it was not before.
    pub(crate) fn start(&mut self, effect: Effect, deadline: Deadline) {
        self.slot(effect).get_or_insert(deadline);
    }

    /// An effect is asked for, or once more.
    pub(crate) fn ask_for(&mut self, effect: Effect, now: Time) {
        self.slot(effect).get_or_insert(Deadline::starting(now)).ask_again(now);
    }

    /// An effect is there, or will not come.
    pub(crate) const fn stop(&mut self, effect: Effect) {
        *self.slot(effect) = None;
    }

    /// The sandbox is left alone though the deadline has passed.
    pub(crate) fn spare(&mut self, effect: Effect) {
        self.slot(effect).iter_mut().for_each(Deadline::spare);
    }

    /// The SIGKILL is acknowledged; when it was sent, if with an error.
    pub(crate) fn acknowledge_kill(&mut self, refused: Option<Time>) {
        self.exit.iter_mut().for_each(|deadline| deadline.acknowledge(refused));
    }

    /// When the last SIGKILL was sent, if that was answered with an error.
    pub(crate) fn kill_refused(&self) -> Option<Time> {
        self.exit.and_then(|deadline| deadline.refused)
    }

    /// The time since `began` did not count for the deadlines that `behind` names.
    pub(crate) fn excuse(&mut self, began: Time, now: Time, behind: impl Fn(&Deadline) -> bool) {
        for deadline in [&mut self.exit, &mut self.deletion].into_iter().flatten() {
            if behind(deadline) {
                deadline.excuse(began, now);
            }
        }
    }

    const fn slot(&mut self, effect: Effect) -> &mut Option<Deadline> {
        match effect {
            Effect::Exit => &mut self.exit,
            Effect::Deletion => &mut self.deletion,
        }
    }
}
