//! Where the sandbox stands: in service, being ended, ended, or on the way out.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::GuardError;
use crate::io::{Method, Step};
use crate::policy::{
    FREE_AGAIN_AFTER, FREE_AGAIN_AFTER_AT_MOST, HOME, KILL_AGAIN_AFTER_AT_MOST, LOOK_AGAIN_AFTER, budgets,
};
use crate::time::Time;

/// Where the sandbox stands. It never comes back to [`Phase::Open`].
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Normal service.
    #[default]
    Open,
    /// The escalation runs.
    Ending(Escalation),
    /// SIGKILL was sent, these live on; the escalation goes on when they die.
    Unkillable(Escalation, Stuck),
    /// Ended by the guard and released; what is left all the same.
    Gone(Vec<String>),
    /// The last container is deleted and the real shim told to go.
    Closing(Shutdown),
    /// Nothing more to do.
    Closed,
}

/// An escalation that runs.
#[derive(Clone, Debug)]
pub(crate) struct Escalation {
    began: Time,
    step: Step,
    /// When the step's budget is spent.
    due: Time,
    /// The sandbox's processes are known to be dead.
    dead: bool,
    /// Where a Create hung, if that is the cause.
    stuck_create: Option<(String, String)>,
}

impl Escalation {
    pub(crate) const fn new(began: Time, step: Step, due: Time) -> Self {
        let dead = matches!(step, Step::Release);
        Self { began, step, due, dead, stuck_create: None }
    }

    /// The next step of the same escalation.
    pub(crate) fn next(&self, step: Step, due: Time) -> Self {
        Self { stuck_create: self.stuck_create.clone(), ..Self::new(self.began, step, due) }
    }

    pub(crate) const fn began(&self) -> Time {
        self.began
    }

    pub(crate) const fn step(&self) -> &Step {
        &self.step
    }

    pub(crate) const fn due(&self) -> Time {
        self.due
    }

    /// Whether the sandbox's processes are known to be dead.
    pub(crate) const fn has_killed(&self) -> bool {
        self.dead
    }

    pub(crate) const fn set_killed(&mut self, dead: bool) {
        self.dead = dead;
    }

    /// The container whose Create hung, and where, if that is the cause.
    pub(crate) const fn stuck_create(&self) -> Option<&(String, String)> {
        self.stuck_create.as_ref()
    }

    pub(crate) fn set_stuck_create(&mut self, container: String, stuck: String) {
        self.stuck_create = Some((container, stuck));
    }
}

/// What could not be killed.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    /// Words for each process.
    left: Vec<String>,
    /// When the next attempt is due, or the one under way counts as one that does not come back.
    due: Option<Time>,
    /// How long to wait after that one.
    pause: Duration,
    /// An attempt to free it is under way.
    freeing: bool,
    killing: Killing,
}

/// Whether it is known what the step KillAll has killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killing {
    /// Yes: the death of what is left will be told.
    CameBack,
    /// No: it is taken again, and again.
    Lost,
}

impl Stuck {
    /// The first attempt to free it begins.
    pub(crate) fn new(left: Vec<String>, killing: Killing, now: Time) -> Self {
        let first = match killing {
            Killing::CameBack => budgets::UNBLOCK + HOME,
            Killing::Lost => FREE_AGAIN_AFTER,
        };
        Self { left, due: Some(now + first), pause: FREE_AGAIN_AFTER, freeing: true, killing }
    }

    pub(crate) fn left(&self) -> &[String] {
        &self.left
    }

    /// What a request is told that would need it to be dead.
    pub(crate) fn error_for(&self, method: Method, id: &impl ToString) -> GuardError {
        GuardError::Unkillable { method, id: id.to_string(), left: self.left.clone() }
    }

    pub(crate) const fn due(&self) -> Option<Time> {
        self.due
    }

    /// Whether a KillAll that was given up may still come back.
    pub(crate) fn waits_for_kill(&self) -> bool {
        self.killing == Killing::Lost
    }

    /// An attempt is over, and left these; `undecided` if it is being watched whether what holds it up hangs.
    pub(crate) fn freed(&mut self, left: Vec<String>, undecided: bool, now: Time) {
        if !left.is_empty() {
            self.left = left;
        }
        self.freeing = false;
        match self.killing {
            Killing::Lost => {}
            Killing::CameBack if undecided => self.due = Some(now + LOOK_AGAIN_AFTER),
            Killing::CameBack => {
                self.due = Some(now + self.pause);
                self.pause = (self.pause * 2).min(FREE_AGAIN_AFTER_AT_MOST);
            }
        }
    }

    /// The step that is to be taken, now that one is due.
    pub(crate) fn next_attempt(&mut self, now: Time) -> Option<Step> {
        match (self.killing, self.freeing) {
            // What hangs is not joined by more of its kind often.
            (Killing::Lost, _) => {
                self.pause = (self.pause * 2).min(KILL_AGAIN_AFTER_AT_MOST);
                self.due = Some(now + self.pause);
                Some(Step::KillAll)
            }
            (Killing::CameBack, true) => {
                self.due = None;
                self.left.push("freeing it has not come back either: what looks at it hangs".into());
                None
            }
            (Killing::CameBack, false) => {
                (self.due, self.freeing) = (Some(now + budgets::UNBLOCK + HOME), true);
                Some(Step::Unblock)
            }
        }
    }

    /// KillAll has come back after all. What it could not kill is waited for, as ever.
    pub(crate) fn kill_came_back(&mut self, left: Vec<String>, now: Time) {
        (self.left, self.killing, self.pause) = (left, Killing::CameBack, FREE_AGAIN_AFTER);
        self.due = Some(now + FREE_AGAIN_AFTER);
    }
}

/// How far the guard is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownStep {
    /// The real shim was asked to go.
    Asked,
    /// What lives on is killed.
    Killing,
    /// What is left is released.
    Releasing,
    /// The release takes longer than anybody waits: callers are answered, but the guard stays, since the release runs in
    /// its process.
    Overtime,
}

/// The guard on its way out.
#[derive(Debug)]
pub(crate) struct Shutdown {
    began: Time,
    step: ShutdownStep,
    /// When the step's budget is spent, or it will not come back.
    due: Option<Time>,
    stuck: Option<Stuck>,
}

impl Shutdown {
    pub(crate) const fn new(began: Time, step: ShutdownStep, due: Time) -> Self {
        Self { began, step, due: Some(due), stuck: None }
    }

    pub(crate) const fn began(&self) -> Time {
        self.began
    }

    pub(crate) const fn step(&self) -> ShutdownStep {
        self.step
    }

    pub(crate) fn due(&self) -> Option<Time> {
        self.due.or(self.stuck().and_then(Stuck::due))
    }

    /// Whether a step is under way whose budget is not spent.
    pub(crate) const fn takes_a_step(&self) -> bool {
        self.due.is_some()
    }

    /// What cannot be killed.
    pub(crate) const fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref()
    }

    pub(crate) const fn stuck_mut(&mut self) -> Option<&mut Stuck> {
        self.stuck.as_mut()
    }

    pub(crate) fn set_stuck(&mut self, stuck: Stuck) {
        (self.due, self.stuck) = (None, Some(stuck));
    }
}
