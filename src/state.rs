//! The parts of the state machine together.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::exit::{Exit, KILLED, REAL_SHIM_LOST_IT};
use crate::exits::memory::Memory;
use crate::inflight::{Inflight, Kind};
use crate::io::{Output, ProcessId};
use crate::phase::{Phase, Stuck};
use crate::policy::{ANSWER_MARGIN, Policy};
use crate::present::Present;
use crate::probe::Probe;
use crate::recall::Recall;
use crate::task::{Effect, Tasks};
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::vacancy::Vacancy;
use crate::watchdog::Watchdog;

mod traffic;

/// How long after its own timeout the real shim is given to say so itself.
pub(crate) const WIRE_SLACK: Duration = Duration::from_millis(100);

/// What is to be done once an input has been dealt with.
#[derive(Debug, Default)]
pub(crate) struct FollowUps {
    /// Processes that have started or ended, and must end or be deleted.
    pub(crate) must_end: Vec<ProcessId>,
    /// The guard ends if no container is left.
    pub(crate) close_if_empty: bool,
}

/// Everything that is known of one sandbox.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) policy: Policy,
    /// Id of the root container.
    pub(crate) sandbox: String,
    pub(crate) present: Present,
    pub(crate) timers: Timers,
    pub(crate) tasks: Tasks,
    pub(crate) inflight: Inflight,
    pub(crate) exits: Memory,
    pub(crate) probe: Probe,
    pub(crate) watchdog: Watchdog,
    pub(crate) recall: Recall,
    pub(crate) vacancy: Vacancy,
    phase: Phase,
    forced: bool,
    left_behind: bool,
    follow_ups: FollowUps,
    out: VecDeque<Output>,
}

impl State {
    /// That of a sandbox of which nothing is there, with a place reserved for `first`.
    pub(crate) fn new(policy: Policy, sandbox: String, first: String) -> Self {
        let (vacancy, watchdog) = (Vacancy::new(first), Watchdog::new(&policy));
        let mut timers = Timers::default();
        timers.set(Timer::Vacancy, vacancy.due());
        Self {
            policy,
            sandbox,
            present: Present::default(),
            timers,
            tasks: Tasks::default(),
            inflight: Inflight::default(),
            exits: Memory::default(),
            probe: Probe::default(),
            watchdog,
            recall: Recall::default(),
            vacancy,
            phase: Phase::default(),
            forced: false,
            left_behind: false,
            follow_ups: FollowUps::default(),
            out: VecDeque::new(),
        }
    }

    pub(crate) const fn now(&self) -> Time {
        self.present.now()
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) const fn phase_mut(&mut self) -> &mut Phase {
        &mut self.phase
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the guard stays until containerd has collected everything: in service, or with an ended sandbox.
    pub(crate) const fn awaits_containerd(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Gone(_))
    }

    /// Moves the sandbox on. It never comes back to normal service, so that the timers of that are over.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        for timer in Timer::of_service() {
            self.timers.clear(timer);
        }
        if matches!(self.phase, Phase::Closed) {
            self.timers.clear(Timer::NodeShutdown);
        }
        self.arm_vacancy();
        self.arm_recall();
        self.arm_step();
    }

    /// The end of the step under way, or of what is stuck, has moved.
    pub(crate) fn arm_step(&mut self) {
        let due = match &self.phase {
            Phase::Ending(escalation) => Some(escalation.due()),
            Phase::Closing(shutdown) => shutdown.due(),
            Phase::Unkillable(_, stuck) => stuck.due(),
            Phase::Open | Phase::Gone(_) | Phase::Closed => None,
        };
        self.timers.set(Timer::Step, due);
    }

    pub(crate) fn arm_vacancy(&mut self) {
        let due = self.vacancy.due().filter(|_| self.awaits_containerd());
        self.timers.set(Timer::Vacancy, due);
    }

    pub(crate) fn arm_recall(&mut self) {
        let due = self.recall.due().filter(|_| self.awaits_containerd());
        self.timers.set(Timer::Recall, due);
    }

    pub(crate) fn arm_probe_lost(&mut self) {
        self.timers.set(Timer::ProbeLost, self.probe.lost_at());
    }

    fn arm_answers(&mut self) {
        self.timers.set(Timer::Answer, self.inflight.first_answer_due());
    }

    /// What is stuck now: during the escalation, or on the way out.
    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        match &self.phase {
            Phase::Unkillable(_, stuck) => Some(stuck),
            Phase::Closing(shutdown) => shutdown.stuck(),
            _ => None,
        }
    }

    pub(crate) fn stuck_mut(&mut self) -> Option<&mut Stuck> {
        match &mut self.phase {
            Phase::Unkillable(_, stuck) => Some(stuck),
            Phase::Closing(shutdown) => shutdown.stuck_mut(),
            _ => None,
        }
    }

    /// Whether the guard has begun to kill.
    pub(crate) const fn is_forced(&self) -> bool {
        self.forced
    }

    /// The real shim's word of an exit as it must be told: once the guard kills, 128 ("I lost it") means its SIGKILL.
    pub(crate) const fn told(&self, exit: Exit) -> Exit {
        if self.forced && exit.status == REAL_SHIM_LOST_IT { Exit { status: KILLED, ..exit } } else { exit }
    }

    pub(crate) const fn force(&mut self) {
        self.forced = true;
    }

    /// Whether the node goes down, and with it nothing more is to be told.
    pub(crate) fn is_leaving_the_node(&self) -> bool {
        self.timers.get(Timer::NodeShutdown).is_some()
    }

    /// Whether everything of the sandbox has been released and proved so.
    pub(crate) fn is_released(&self) -> bool {
        match &self.phase {
            Phase::Gone(left) => left.is_empty(),
            Phase::Closed => !self.left_behind,
            _ => false,
        }
    }

    /// The guard ends, and leaves what was not shown to be released.
    pub(crate) fn leave_behind(&mut self) {
        self.left_behind = !self.is_released();
    }

    pub(crate) fn is_root(&self, process: &ProcessId) -> bool {
        process.is_init() && process.container == self.sandbox
    }

    /// The configured time of an effect.
    pub(crate) const fn limit(&self, effect: Effect) -> Duration {
        match effect {
            Effect::Exit => self.policy.kill_deadline,
            Effect::Deletion => self.policy.delete_deadline,
        }
    }

    /// The configured time of a query.
    pub(crate) const fn query_limit(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Stats => self.policy.stats_deadline,
            _ => self.policy.query_deadline,
        }
    }

    /// When the answer is due: after `limit`, or before the caller gives up.
    pub(crate) fn answer_due(&self, limit: Duration, caller: Option<Duration>) -> Time {
        let caller = caller.map(|all| all.saturating_sub(ANSWER_MARGIN).max(all / 2));
        self.now() + caller.map_or(limit, |caller| caller.min(limit))
    }

    /// A process must end: what is to be done about that follows once this input has been dealt with.
    pub(crate) fn pursue_later(&mut self, id: ProcessId) {
        self.follow_ups.must_end.push(id);
    }

    /// The guard ends, once this input has been dealt with, if no container is left.
    pub(crate) const fn close_if_empty(&mut self) {
        self.follow_ups.close_if_empty = true;
    }

    pub(crate) fn take_follow_ups(&mut self) -> FollowUps {
        core::mem::take(&mut self.follow_ups)
    }
}
