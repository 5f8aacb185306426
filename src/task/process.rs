//! A container's init or an exec'd process: what is known of it, and how that may change.

use crate::exit::{Exit, Publisher};
use crate::io::{CallId, ProcessSpec, Status};
use crate::policy::CERTAIN_FOR;
use crate::task::deadline::{Deadlines, Effect};
use crate::task::query::Query;
use crate::task::signals::Signals;
use crate::time::Time;

/// Life of a process as far as the guard has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Create or Exec is under way.
    Adding,
    /// Create or Exec succeeded.
    Added,
    /// Start succeeded.
    Started,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    born: CallId,
    about: ProcessSpec,
    life: Life,
    /// When its start was known.
    started: Time,
    pid: u32,
    /// The last status that the real shim reported, for pause and resume.
    status: Status,
    exit: Option<Exit>,
    /// When that became known.
    exited: Option<Time>,
    publisher: Option<Publisher>,
    wait_call: Option<CallId>,
    /// Since when Wait has been answered with nothing but errors.
    wait_failing: Option<Time>,
    pub(crate) state: Query,
    pub(crate) signals: Signals,
    pub(crate) deadlines: Deadlines,
    delete_call: Option<CallId>,
    releasing_until: Option<Time>,
    deleted_unheard: bool,
    released_alone: bool,
    sentry_lingers_since: Option<Time>,
    must_end: bool,
    /// /proc said that its sentry is dead, though no exit is known yet.
    sentry_is_dead: bool,
    /// When the real shim last said that it runs, if nothing was asked for since that may change that; and until when
    /// that is taken as certain.
    running_until: Option<Time>,
    /// When such a thing was last asked for, or done.
    changed: Time,
}

impl Process {
    /// One that is being added. Calls numbered below `born` are about a predecessor of the same name.
    pub(crate) fn new(born: CallId, about: ProcessSpec) -> Self {
        Self {
            born,
            about,
            life: Life::Adding,
            started: Time::default(),
            pid: 0,
            status: Status::Created,
            exit: None,
            exited: None,
            publisher: None,
            wait_call: None,
            wait_failing: None,
            state: Query::default(),
            signals: Signals::default(),
            deadlines: Deadlines::default(),
            delete_call: None,
            releasing_until: None,
            deleted_unheard: false,
            released_alone: false,
            sentry_lingers_since: None,
            must_end: false,
            sentry_is_dead: false,
            running_until: None,
            changed: Time::default(),
        }
    }

    /// Whether a call is about a predecessor of the same name.
    pub(crate) fn is_younger_than(&self, call: CallId) -> bool {
        call < self.born
    }

    /// Whether this is the very call that adds it.
    #[cfg(test)]
    pub(crate) fn is_born_with(&self, call: CallId) -> bool {
        call == self.born
    }

    pub(crate) const fn about(&self) -> &ProcessSpec {
        &self.about
    }

    pub(crate) const fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn is_added(&self) -> bool {
        self.life == Life::Added
    }

    pub(crate) fn is_started(&self) -> bool {
        self.life == Life::Started
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// Create or Exec has succeeded.
    pub(crate) fn is_there(&mut self) {
        if self.life == Life::Adding {
            self.life = Life::Added;
        }
    }

    /// It has started; a Delete that was refused before that is under way no more.
    pub(crate) fn starts(&mut self, now: Time) {
        if self.life != Life::Started {
            (self.life, self.started) = (Life::Started, now);
        }
        if self.delete_call.is_none() && self.releasing_until.is_none() {
            self.deadlines.stop(Effect::Deletion);
        }
    }

    /// Whether it has started after the last SIGKILL was sent, and that was refused.
    pub(crate) fn was_refused_before_start(&self) -> bool {
        let refused = self.deadlines.kill_refused();
        self.is_started() && refused.is_some_and(|sent| sent < self.started)
    }

    /// The real shim says that it runs, in answer to what was sent at `asked`.
    pub(crate) fn runs(&mut self, asked: Time, now: Time) {
        self.status = Status::Running;
        self.running_until = (asked > self.changed).then_some(now + CERTAIN_FOR);
        self.sentry_lingers_since = None;
    }

    /// The real shim says that it is paused, or being paused.
    pub(crate) const fn pauses(&mut self, status: Status, now: Time) {
        self.status = status;
        self.sentry_lingers_since = None;
        self.may_change(now);
    }

    /// The real shim has resumed it.
    pub(crate) const fn resumes(&mut self, now: Time) {
        self.status = Status::Running;
        self.may_change(now);
    }

    pub(crate) const fn is_paused(&self) -> bool {
        matches!(self.status, Status::Paused | Status::Pausing)
    }

    /// When something was last asked for, or done, after which it may not run any more, or again.
    pub(crate) const fn changed(&self) -> Time {
        self.changed
    }

    /// Something is asked for, or done, after which it may not run any more.
    pub(crate) const fn may_change(&mut self, now: Time) {
        self.running_until = None;
        self.changed = now;
    }

    pub(crate) const fn set_sentry_is_dead(&mut self, dead: bool) {
        self.sentry_is_dead = dead;
    }

    /// The real shim calls it stopped, though no exit is known.
    pub(crate) fn sentry_lingers(&mut self, now: Time) {
        self.sentry_lingers_since.get_or_insert(now);
    }

    /// When the real shim first called it stopped without an exit being known.
    pub(crate) const fn sentry_lingers_since(&self) -> Option<Time> {
        self.sentry_lingers_since
    }

    /// Whether its record is as good as what the real shim would say.
    pub(crate) fn is_certain(&self, now: Time) -> bool {
        let untouched = self.exit.is_none() && !self.deadlines.run();
        let fresh = self.running_until.is_some_and(|until| now < until);
        untouched && fresh && self.life == Life::Started && !self.sentry_is_dead
    }

    /// The status as State tells it from the record.
    pub(crate) const fn status(&self) -> Status {
        match (self.exit, self.life) {
            (Some(_), _) => Status::Stopped,
            (None, Life::Added | Life::Started) if self.sentry_is_dead => Status::Stopped,
            (None, Life::Adding | Life::Added) => Status::Created,
            (None, Life::Started) => self.status,
        }
    }

    pub(crate) const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Whether it was started and no exit is known.
    pub(crate) fn is_running(&self) -> bool {
        self.life == Life::Started && self.exit.is_none()
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Whether its exit was not known at that time, if it is now.
    pub(crate) fn was_running_at(&self, time: Time) -> bool {
        self.exited.is_some_and(|exited| exited >= time)
    }

    /// Its exit is known; false if it was before.
    pub(crate) fn ends(&mut self, exit: Exit, now: Time) -> bool {
        if self.exit.is_some() {
            return false;
        }
        (self.exit, self.exited) = (Some(exit), Some(now));
        self.deadlines.stop(Effect::Exit);
        self.sentry_lingers_since = None;
        true
    }

    pub(crate) const fn publisher(&self) -> Option<Publisher> {
        self.publisher
    }

    /// Its exit is published; the first publisher counts.
    pub(crate) fn is_published_by(&mut self, publisher: Publisher) {
        self.publisher.get_or_insert(publisher);
    }

    /// The call of its Wait.
    pub(crate) const fn wait_call(&self) -> Option<CallId> {
        self.wait_call
    }

    pub(crate) const fn set_wait_call(&mut self, call: Option<CallId>) {
        self.wait_call = call;
    }

    /// A Wait is answered with an error; since when that has been so.
    pub(crate) fn wait_fails(&mut self, now: Time) -> Time {
        *self.wait_failing.get_or_insert(now)
    }

    pub(crate) const fn delete_call(&self) -> Option<CallId> {
        self.delete_call
    }

    pub(crate) const fn set_delete_call(&mut self, call: Option<CallId>) {
        self.delete_call = call;
    }

    /// The guard is releasing it alone, and by then that has come back.
    pub(crate) const fn releasing_until(&self) -> Option<Time> {
        self.releasing_until
    }

    pub(crate) const fn set_releasing_until(&mut self, until: Option<Time>) {
        self.releasing_until = until;
    }

    pub(crate) const fn is_being_released(&self) -> bool {
        self.releasing_until.is_some()
    }

    /// The guard has released it alone, whatever the real shim still knows of it.
    pub(crate) const fn is_released_alone(&self) -> bool {
        self.released_alone
    }

    pub(crate) const fn set_released_alone(&mut self) {
        self.released_alone = true;
    }

    /// It is deleted or released, and nobody has heard of that: the next Delete is answered from the record.
    pub(crate) const fn set_deleted_unheard(&mut self) {
        self.deadlines.stop(Effect::Deletion);
        self.deleted_unheard = true;
    }

    /// The exit of one that is deleted or released without anybody having heard of that.
    pub(crate) fn unheard_exit(&self) -> Option<Exit> {
        self.exit.filter(|_| self.deleted_unheard)
    }

    /// It must be deleted as soon as it has ended (private End).
    pub(crate) const fn must_end(&self) -> bool {
        self.must_end
    }

    pub(crate) const fn set_must_end(&mut self) {
        self.must_end = true;
    }
}
