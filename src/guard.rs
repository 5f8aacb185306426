//! The state machine: one input in, outputs out, then sleep until the named deadline.
//!
//! What each request does stands in `admit`, and in `create`, `signal` and `question` where there is more to
//! it; what an answer of the real shim does in `returned`; which deadline passed and what follows in `clocks`
//! and `probe`; who learns of an exit in `exits`; the ladder in `ladder` and `unkillable`, the way out in `closing`;
//! what is done about a sandbox that is silent unasked in `watchdog`, and about one that containerd has forgotten in
//! `forgotten`; about a node that goes down in `terminate`.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::call::{Call, Kind, Waiting};
use crate::exit::Exit;
use crate::exits::Owed;
use crate::io::{Answer, CallId, Input, Lane, Note, Output, OwnCall, ProcessId, RequestId, Rung};
use crate::ladder::Ladder;
use crate::policy::{ANSWER_MARGIN, LATENESS, Policy};
use crate::task::Tasks;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::unkillable::Stuck;

/// How long after its own timeout the real shim is given to say so itself.
pub(crate) const WIRE_SLACK: Duration = Duration::from_millis(100);

/// How long a guard that woke up late may take to read what came meanwhile; less than [`WIRE_SLACK`].
const READING: Duration = Duration::from_millis(50);

/// Where the sandbox stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Normal service.
    Open,
    /// The ladder runs.
    Ending(Ladder),
    /// SIGKILL was sent, these live on; the ladder goes on when they die.
    Unkillable(Ladder, Stuck),
    /// Ended by the guard and released; what is left all the same.
    Gone(Vec<String>),
    /// The last container is deleted and the real shim told to go.
    Closing(crate::closing::Closing),
    /// Nothing more to do.
    Closed,
}

/// One sandbox's guard. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Guard {
    pub(crate) policy: Policy,
    /// Id of the root container.
    pub(crate) sandbox: String,
    /// The present, without the time in which the guard itself did not run (rule 7).
    pub(crate) now: Time,
    /// The time in which the guard itself did not run.
    lost: Duration,
    /// When the guard was last on time: what comes in now may have come as early as that.
    pub(crate) on_time: Time,
    /// Until then it reads what came before it woke up.
    reads_until: Time,
    /// Nothing is judged before: after a sleep of the guard, the answers that came meanwhile are read first.
    pub(crate) not_before: Time,
    pub(crate) phase: Phase,
    pub(crate) tasks: Tasks,
    /// Containers announced by `start` whose Create has not come.
    pub(crate) reserved: BTreeSet<String>,
    /// Since when there is no container, or the last place was reserved without one.
    pub(crate) vacant: Option<Time>,
    pub(crate) doubt: crate::forgotten::Doubt,
    pub(crate) waiting: BTreeMap<RequestId, Waiting>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) probing: crate::probe::Probing,
    pub(crate) watch: crate::watchdog::Watch,
    /// Deleted processes, the last ones, whose exit the guard has published in its own words.
    pub(crate) silenced: VecDeque<ProcessId>,
    /// Exits of started processes that were deleted before the real shim published them.
    pub(crate) owed: BTreeMap<ProcessId, Owed>,
    /// Exits that the real shim has reported of a sandbox that was killed and is not known to be dead.
    pub(crate) withheld: Vec<(ProcessId, Exit)>,
    /// The last exits of deleted containers.
    pub(crate) deleted: VecDeque<(String, Exit)>,
    /// What was released by itself and deleted, though the real shim may still know it.
    pub(crate) released: VecDeque<ProcessId>,
    /// The guard has begun to kill: the real shim's 128 now means our SIGKILL.
    pub(crate) forced: bool,
    /// A private End has come: after that containerd may send no Shutdown.
    pub(crate) leaving: bool,
    /// The node goes down: when the guard ends, whatever lives on.
    pub(crate) leaves_at: Option<Time>,
    /// It has left what was not shown to be released.
    pub(crate) left_behind: bool,
    pub(crate) next_call: CallId,
    pub(crate) timers: Timers,
    out: VecDeque<Output>,
}

/// A container in the record that teardown needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: String,
    /// The task's pid: the sentry's.
    pub pid: u32,
    /// How it ended, once that is known.
    pub exit: Option<Exit>,
}

impl Guard {
    /// A guard for the sandbox whose root container is `sandbox`, with a place reserved for `first`.
    pub fn new(policy: Policy, sandbox: String, first: String) -> Self {
        let mut guard = Self {
            policy,
            sandbox,
            now: Time::default(),
            lost: Duration::ZERO,
            on_time: Time::default(),
            reads_until: Time::default(),
            not_before: Time::default(),
            phase: Phase::Open,
            tasks: Tasks::default(),
            reserved: BTreeSet::from([first]),
            vacant: Some(Time::default()),
            doubt: Default::default(),
            waiting: BTreeMap::new(),
            calls: BTreeMap::new(),
            probing: Default::default(),
            watch: crate::watchdog::Watch::Quiet(Time::default()),
            silenced: VecDeque::new(),
            owed: BTreeMap::new(),
            withheld: Vec::new(),
            deleted: VecDeque::new(),
            released: VecDeque::new(),
            forced: false,
            leaving: false,
            leaves_at: None,
            left_behind: false,
            next_call: CallId(0),
            timers: Timers::default(),
            out: VecDeque::new(),
        };
        guard.timers.set(Timer::Vacancy, guard.vacancy_due());
        guard
    }

    /// Takes one input. `now` must not run backwards. Drain [`Guard::poll_output`] before the next.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.advance(now);
        match input {
            Input::Request { id, op, caller } => self.admit(id, op, caller),
            Input::Abandoned(id) => self.abandon(id),
            Input::Returned(call, outcome) => self.returned(call, outcome),
            Input::Event(event) => self.event(event),
            Input::RealShimExited => self.real_shim_exited(),
            Input::RealShimLeft => self.real_shim_left(),
            Input::Terminate => self.terminate(),
            Input::Probed(heard) => self.probed(heard),
            Input::Rung(done) => self.rung_done(done),
            Input::RemnantsDied => self.remnants_died(),
            Input::Deserted => self.deserted(),
            Input::Recalled(recalled) => self.recalled(recalled),
            Input::Tick => self.tick(),
        }
        self.look_for_vacancy();
        self.arm_timers_of_service();
    }

    /// The next thing to be done; `None` when all is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due and for which timer, unless another input comes first. Only inputs change the answer.
    pub fn poll_timeout(&self) -> Option<(Timer, Time)> {
        self.timers.next().map(|(timer, at)| (timer, at.max(self.not_before) + self.lost))
    }

    /// Moves the sandbox on. It never comes back to normal service, so that the timers of that are over.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        for timer in Timer::OF_SERVICE {
            self.timers.clear(timer);
        }
        if matches!(self.phase, Phase::Closed) {
            self.timers.clear(Timer::NodeShutdown);
        }
        self.timers.set(Timer::Vacancy, self.vacancy_due());
        self.timers.set(Timer::Recall, self.recall_due());
        self.arm_step();
    }

    /// The end of the step under way, or of what is stuck, has moved.
    pub(crate) fn arm_step(&mut self) {
        let due = match &self.phase {
            Phase::Ending(ladder) => ladder.due(),
            Phase::Closing(closing) => closing.due(),
            Phase::Unkillable(_, stuck) => stuck.due(),
            Phase::Open | Phase::Gone(_) | Phase::Closed => None,
        };
        self.timers.set(Timer::Step, due);
    }

    /// Answers are due at other times than before.
    pub(crate) fn arm_answers(&mut self) {
        self.timers.set(Timer::Answer, self.waiting.values().filter_map(|waiting| waiting.due).min());
    }

    /// What the guard still has in hand, to show that nothing grows.
    #[cfg(test)]
    pub(crate) fn open_ends(&self) -> crate::tests::OpenEnds {
        crate::tests::OpenEnds {
            waiting: self.waiting.len(),
            calls: self.calls.len(),
            owed: self.owed.len(),
            processes: self.tasks.processes().count(),
            requests_in_calls: self.calls.values().map(|call| call.requests.len()).sum(),
        }
    }

    /// Whose exit has been established.
    #[cfg(test)]
    pub(crate) fn known_exits(&self) -> alloc::collections::BTreeSet<ProcessId> {
        let ended = self.tasks.processes().filter(|(_, process)| process.exit.is_some()).map(|(id, _)| id);
        ended.chain(self.deleted.iter().map(|(id, _)| ProcessId::init(id))).collect()
    }

    /// Whether a step is out whose end is waited for.
    #[cfg(test)]
    pub(crate) fn has_a_step_out(&self) -> bool {
        use crate::task::Teardown;
        let one = |task: &crate::task::Task| {
            matches!(task.teardown, Teardown::Until(_)) || task.init.releasing.is_some()
        };
        let open = matches!(self.phase, Phase::Open);
        let asks = matches!(self.probing, crate::probe::Probing::Asking(..));
        open && (asks || self.tasks.0.values().any(one))
            || self.waits_for_kill()
            || matches!(self.phase, Phase::Ending(_))
            || matches!(&self.phase, Phase::Closing(closing) if closing.stuck.is_none())
    }

    /// When the first timer expires, as the state machine counts its time.
    #[cfg(test)]
    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.timers.next().map(|(_, at)| at)
    }

    /// Whether a process is in the record that a call could have started.
    #[cfg(test)]
    pub(crate) fn knows(&self, process: &ProcessId, call: Option<CallId>) -> bool {
        let Some(process) = self.tasks.get(process) else { return false };
        let there = process.life != crate::task::Life::Adding && process.published.is_none();
        there && call.is_none_or(|call| call > process.born)
    }

    /// What teardown needs of each container that has not been deleted.
    pub fn record(&self) -> Vec<Recorded> {
        let record = |(id, task): (&String, &crate::task::Task)| Recorded {
            id: id.clone(),
            bundle: task.init.about.bundle.clone(),
            pid: task.init.pid,
            exit: task.init.exit,
        };
        self.tasks.0.iter().map(record).collect()
    }

    /// Whether everything of the sandbox has been released and proved so.
    pub fn is_released(&self) -> bool {
        match &self.phase {
            Phase::Gone(left) => left.is_empty(),
            Phase::Closed => !self.left_behind,
            _ => false,
        }
    }

    /// The present at `now`, without the time in which the guard itself did not run.
    pub(crate) fn present(&self, now: Time) -> Time {
        Time(now - Time(self.lost)).max(self.now)
    }

    /// Moves the present, leaving out the time in which the guard itself did not run: a wake-up much too
    /// late moves every open deadline, and leaves time to read the answers that came meanwhile.
    fn advance(&mut self, now: Time) {
        let here = self.present(now);
        let first = self.timers.next().map(|(_, at)| at);
        // What the last input has made due at once was not due before it.
        let late = first.map_or(Duration::ZERO, |due| here - due.max(self.not_before).max(self.now));
        if late <= LATENESS {
            self.now = here;
        } else {
            self.now = Time(here - Time(late + LATENESS)).max(self.now);
            self.lost = now - self.now;
            self.not_before = self.now + LATENESS;
            self.note(Note::Late(late));
        }
        match first {
            Some(due) if due < self.now => {
                self.on_time = self.on_time.max(due);
                self.reads_until = self.now + READING;
            }
            _ if self.now >= self.reads_until => self.on_time = self.now,
            _ => {}
        }
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.output(Output::Note(note));
    }

    pub(crate) fn rung(&mut self, rung: Rung, budget: Duration) {
        self.output(Output::Rung(rung, budget));
    }

    /// Answers a request that still waits; one that does not has had its answer or lost its caller.
    pub(crate) fn reply(&mut self, id: RequestId, answer: Answer) {
        if self.stops_waiting(id) {
            self.output(Output::Reply(id, answer));
        }
    }

    pub(crate) fn wait_for_answer(
        &mut self,
        id: RequestId,
        kind: Kind,
        process: ProcessId,
        due: Option<Time>,
    ) {
        self.waiting.insert(id, Waiting { kind, process, since: self.now, due });
        self.timers.set_earlier(Timer::Answer, due);
    }

    fn abandon(&mut self, id: RequestId) {
        self.stops_waiting(id);
    }

    /// False if it has stopped already.
    fn stops_waiting(&mut self, id: RequestId) -> bool {
        let Some(waiting) = self.waiting.remove(&id) else { return false };
        for call in self.calls.values_mut() {
            call.requests.retain(|request| *request != id);
        }
        if waiting.due.is_some_and(|due| self.timers.get(Timer::Answer) == Some(due)) {
            self.arm_answers();
        }
        true
    }

    /// When the answer is due: after `limit`, or before the caller gives up.
    pub(crate) fn answer_due(&self, limit: Duration, caller: Option<Duration>) -> Time {
        let caller = caller.map(|all| all.saturating_sub(ANSWER_MARGIN).max(all / 2));
        self.now + caller.map_or(limit, |caller| caller.min(limit))
    }

    fn new_call(
        &mut self,
        kind: Kind,
        process: ProcessId,
        requests: Vec<RequestId>,
        timeout: Duration,
    ) -> CallId {
        let id = self.next_call;
        self.next_call = CallId(id.0 + 1);
        self.calls.insert(id, Call { kind, process, requests, sent: self.now, timeout });
        id
    }

    /// Sends a request's own bytes on, with a timeout of `limit` or the caller's own where that is shorter.
    pub(crate) fn forward(
        &mut self,
        request: RequestId,
        kind: Kind,
        process: ProcessId,
        timeout: Duration,
        lane: Lane,
    ) -> CallId {
        let call = self.new_call(kind, process, Vec::from([request]), timeout);
        self.output(Output::Forward { call, request, timeout, lane });
        call
    }

    /// Sends a request of the guard's own.
    pub(crate) fn call(&mut self, kind: Kind, process: ProcessId, own: OwnCall, timeout: Duration) -> CallId {
        let call = self.new_call(kind, process, Vec::new(), timeout);
        self.output(Output::Call { call, own, timeout });
        call
    }

    pub(crate) fn cancel(&mut self, call: CallId) {
        if self.calls.remove(&call).is_some() {
            self.output(Output::Cancel(call));
        }
    }

    pub(crate) fn is_root(&self, process: &ProcessId) -> bool {
        process.is_init() && process.container == self.sandbox
    }
}
