//! Which deadline passed, and what follows.
//!
//! The rules for one container of a pod: what is to be protected is a living sibling that nobody has asked to end
//! (`stake`). Where there is one, a SIGKILL costs the sandbox only if the sentry is silent (`probe`) or the real shim
//! is mute (`signal`), otherwise at `hard_limit`; a Delete of what has ended costs nobody anything (`release`). Time
//! that a request spends behind what holds the real shim's locks does not count (gVisor
//! pkg/shim/v1/runsc/service.go, proc/init.go).

use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::{Kind, Waiting};
use crate::guard::{Guard, Phase};
use crate::io::{Answer, ProcessId, RequestId, Why};
use crate::policy::rungs;
use crate::probe::Verdict;
use crate::refusal::Refusal;
use crate::stake::Stake;
use crate::task::{Clock, Process, SIGKILL, Task, Teardown};
use crate::time::Time;
use crate::timers::{Timer, Timers};

/// Which of a process's two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// From SIGKILL to the exit.
    Kill,
    /// From Delete to its answer.
    Delete,
}

impl Deadline {
    pub(crate) const BOTH: [Self; 2] = [Self::Kill, Self::Delete];

    pub(crate) fn of(self, process: &Process) -> Option<Clock> {
        match self {
            Self::Kill => process.kill,
            Self::Delete => process.delete,
        }
    }
}

impl Guard {
    /// Arms what depends on several containers at once: who would pay, who holds a lock, what the sentry has said.
    pub(crate) fn arm_timers_of_service(&mut self) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let mut due = Timers::default();
        for (container, task) in &self.tasks.0 {
            due.set_earlier(Timer::Create, self.create_due(task));
            for (exec, process) in task.processes() {
                self.dues_of(container, exec, process, &mut due);
            }
        }
        due.set_earlier(Timer::Watchdog, self.watch_due());
        for timer in Timer::ARMED_IN_ONE_PASS {
            self.timers.set(timer, due.get(timer));
        }
    }

    fn dues_of(&self, container: &str, exec: &str, process: &Process, due: &mut Timers) {
        due.set_earlier(Timer::Resend, process.signals.iter().filter_map(|pending| pending.again).min());
        due.set_earlier(Timer::ReleaseLost, process.releasing);
        due.set_earlier(Timer::SentryLingers, process.lingers.map(|since| since + self.policy.kill_deadline));
        if process.kill.is_none() && process.delete.is_none() {
            return;
        }
        let id = ProcessId { container: container.into(), exec: exec.into() };
        for (which, clock) in Deadline::BOTH.into_iter().filter_map(|which| Some((which, which.of(process)?)))
        {
            due.set_earlier(Timer::Effect, self.due(&id, which, &clock));
            due.set_earlier(Timer::Probe, self.question_due(&id, which, &clock));
            due.set_earlier(Timer::Probe, self.greeting_due(&id, which, &clock));
        }
    }

    /// When a Create, or the teardown of what it began, has to be over.
    pub(crate) fn create_due(&self, task: &Task) -> Option<Time> {
        match (task.teardown, task.creating) {
            (Teardown::None, Some(began)) => Some(began + self.policy.create_deadline),
            (Teardown::Until(limit), _) => Some(limit),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self) {
        if self.now < self.not_before {
            return;
        }
        for timer in Timer::ALL {
            if self.timers.has_expired(timer, self.now) {
                self.expired(timer);
            }
        }
    }

    fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::NodeShutdown => self.leave(),
            Timer::RealShimLeft => self.real_shim_exited(),
            Timer::ProbeLost => self.lose_question(),
            Timer::Resend => self.send_again(),
            Timer::ReleaseLost => self.lose_releases(),
            Timer::Probe => self.ask_on_behalf(),
            Timer::Effect => self.judge_clocks(),
            Timer::SentryLingers => self.judge_lingering(),
            Timer::Create => self.check_creates(),
            Timer::Watchdog => self.watch_if_due(),
            Timer::Step => self.step_is_over(),
            Timer::Vacancy => self.leave_if_vacant(),
            Timer::Recall => self.recall_if_due(),
            Timer::Answer => self.answer_late_ones(),
        }
    }

    fn step_is_over(&mut self) {
        match self.phase {
            Phase::Ending(_) => self.ladder_tick(),
            Phase::Closing(_) => self.closing_tick(),
            Phase::Unkillable(..) => self.free_again(),
            Phase::Open | Phase::Gone(_) | Phase::Closed => {}
        }
    }

    fn answer_late_ones(&mut self) {
        let due = |waiting: &Waiting| waiting.due.is_some_and(|due| due <= self.now);
        let late: Vec<RequestId> =
            self.waiting.iter().filter(|(_, waiting)| due(waiting)).map(|(id, _)| *id).collect();
        for id in late {
            self.answer_late(id);
        }
    }

    /// An answer is due although the real shim has not given one.
    fn answer_late(&mut self, id: RequestId) {
        let Some(Waiting { kind, process, since, .. }) = self.waiting.get(&id) else { return };
        let (kind, process, since) = (*kind, process.clone(), *since);
        self.suspect_if_late(kind, &process, since);
        let answer = self.late_answer(kind, &process, since);
        self.reply(id, answer);
        let over = |known: &Process| known.kill.is_some() || known.delete.is_some() || known.exit.is_some();
        if matches!(kind, Kind::Signal(_)) && self.tasks.get(&process).is_some_and(over) {
            self.drop_pending(&process);
        }
    }

    /// The answer that the table gives for a late request of this kind.
    pub(crate) fn late_answer(&self, kind: Kind, process: &ProcessId, since: Time) -> Answer {
        let (method, id, waited) = (kind.method(), name(process), self.now - since);
        let late = || Answer::Refused(Refusal::Late { method, id: id.clone(), waited });
        let ended = self.tasks.get(process).is_some_and(|known| known.exit.is_some());
        match kind {
            Kind::State => self.state_from_record(process).unwrap_or_else(late),
            Kind::Pids => self.pids_from_record(&process.container).unwrap_or_else(late),
            Kind::Stats | Kind::KillEnded if ended => Answer::Refused(Refusal::Finished(id)),
            Kind::Signal(signal) if signal != SIGKILL || ended => Answer::Done,
            Kind::Signal(_) | Kind::Delete | Kind::End => self.pending(kind, process, since),
            Kind::Shutdown => {
                let id = self.sandbox.clone();
                Answer::Refused(Refusal::Ending { method, id, why: "is still being released by the guard" })
            }
            _ => late(),
        }
    }

    /// The answer to a SIGKILL or Delete that has had no effect so far.
    fn pending(&self, kind: Kind, process: &ProcessId, since: Time) -> Answer {
        let (method, id, waited) = (kind.method(), name(process), self.now - since);
        let clocks =
            self.tasks.get(process).map(|known| Deadline::BOTH.map(|which| (which, which.of(known))));
        let mut clocks = clocks.into_iter().flatten().filter_map(|(which, clock)| Some((which, clock?)));
        let alone = kind != Kind::Signal(SIGKILL) && self.stake(process, Deadline::Delete) == Stake::Itself;
        let latest = match (&self.phase, clocks.next()) {
            (Phase::Unkillable(_, stuck), _) => {
                return Answer::Refused(Refusal::Unkillable { method, id, left: stuck.left.clone() });
            }
            (Phase::Ending(_), _) => Some(self.now + rungs::TOTAL),
            (_, Some((which, clock))) => self.latest_end(process, which, &clock),
            // Its clock was stopped by an answer that was no success: nothing is under way.
            (_, None) => return Answer::Refused(Refusal::Late { method, id, waited }),
        };
        Answer::Refused(match latest {
            Some(latest) if alone => Refusal::Releasing { id, waited, ends_in: latest - self.now },
            Some(latest) => Refusal::Pending { method, id, waited, ends_in: latest - self.now },
            None if !process.is_init() => Refusal::ExecPending { method, id, waited },
            None => Refusal::PendingForever { method, id, waited },
        })
    }

    /// When a clock ends its sandbox even if everything speaks for sparing it; or, of what has ended, settles it.
    pub(crate) fn latest_end(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let limit = self.limit(which);
        match self.stake(id, which) {
            Stake::Nobody | Stake::Itself => Some(clock.since + limit),
            Stake::Container => None,
            Stake::Sibling => {
                let limit = self.policy.hard_limit?.max(limit);
                let excused = self
                    .held_since(id, clock)
                    .map(|(began, over)| over + limit.saturating_sub(began - clock.since));
                Some(excused.unwrap_or(clock.since + limit))
            }
        }
    }

    /// The configured time of a clock.
    pub(crate) fn limit(&self, which: Deadline) -> Duration {
        match which {
            Deadline::Kill => self.policy.kill_deadline,
            Deadline::Delete => self.policy.delete_deadline,
        }
    }

    /// When a clock has to be judged; `None` while it is excused, waits for something else, or has no end.
    /// Whatever turns `None` into a time is an input, or a deadline of its own.
    pub(crate) fn due(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        if self.is_busy_with(id) {
            return None;
        }
        let first = clock.since + self.limit(which);
        let stake = self.stake(id, which);
        if self.is_being_created(id) {
            return Some(first);
        }
        match self.verdict(id, which, clock) {
            _ if !stake.needs_verdict() && clock.spared => {
                Some(self.others_due().map_or(first, |due| due.max(first)))
            }
            _ if !stake.needs_verdict() => Some(first),
            Verdict::Silent => Some(first),
            Verdict::Answers if !clock.spared => Some(first),
            // Until the verdict is in, or the limit that needs none has come.
            Verdict::Out | Verdict::Answers => {
                self.mute_at(id, which, clock).into_iter().chain(self.hard_end(id, which, clock)).min()
            }
        }
    }

    /// When a living sibling pays in spite of everything; none while that is excused.
    fn hard_end(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        self.latest_end(id, which, clock).filter(|_| self.held_since(id, clock).is_none())
    }

    /// When the SIGKILLs that came last have had their time: those who were spared so far need not be ended sooner.
    fn others_due(&self) -> Option<Time> {
        let clocks = self.tasks.processes().filter_map(|(_, process)| process.kill);
        let fresh = clocks.filter(|clock| !clock.spared).map(|clock| clock.since + self.policy.kill_deadline);
        fresh.max()
    }

    /// Every clock that runs, as long as the sandbox is in service.
    fn each_clock(&mut self, mut what: impl FnMut(&mut Self, &ProcessId, Deadline, Clock)) {
        for id in self.tasks.ids() {
            for which in Deadline::BOTH {
                if !matches!(self.phase, Phase::Open) {
                    return;
                }
                let clock = self.tasks.get(&id).and_then(|process| which.of(process));
                if let Some(clock) = clock {
                    what(self, &id, which, clock);
                }
            }
        }
    }

    fn ask_on_behalf(&mut self) {
        self.each_clock(|guard, id, which, clock| guard.ask_if_due(id, which, &clock));
    }

    /// Judges each clock that has run out.
    pub(crate) fn judge_clocks(&mut self) {
        if self.now < self.not_before {
            return;
        }
        self.each_clock(|guard, id, which, clock| {
            guard.ask_if_due(id, which, &clock);
            if guard.due(id, which, &clock).is_some_and(|due| due <= guard.now) {
                guard.judge(id, which, clock);
            }
        });
    }

    fn judge_lingering(&mut self) {
        let since = self.tasks.processes().filter_map(|(_, process)| process.lingers).min();
        if let Some(since) = since {
            self.escalate(Why::SentryLingers, since);
        }
    }

    /// A clock has run out.
    fn judge(&mut self, id: &ProcessId, which: Deadline, clock: Clock) {
        if self.is_being_created(id) {
            return self.tear_down_create(&id.container);
        }
        let why = match which {
            Deadline::Kill => Why::KillWithoutExit { process: id.clone(), acknowledged: clock.acknowledged },
            Deadline::Delete => Why::DeleteStuck(id.clone()),
        };
        let stake = self.stake(id, which);
        if stake == Stake::Itself {
            return match which {
                Deadline::Kill => self.has_no_exit(id),
                Deadline::Delete => self.release_one(id),
            };
        }
        let silent = self.verdict(id, which, &clock) == Verdict::Silent;
        let over = |due: Option<Time>| due.is_some_and(|due| due <= self.now);
        let mute = over(self.mute_at(id, which, &clock));
        if !stake.needs_verdict() || silent || mute || over(self.hard_end(id, which, &clock)) {
            return self.escalate(why, clock.since);
        }
        self.spare(id, which);
    }

    /// No exit will come of this process: nobody needs to wait for one, nor for a SIGKILL.
    fn has_no_exit(&mut self, id: &ProcessId) {
        if let Some(known) = self.tasks.get_mut(id) {
            known.kill = None;
        }
        for kind in [Kind::Wait, Kind::Signal(SIGKILL)] {
            for request in self.requests_for(id, kind) {
                self.reply(request, Answer::Refused(Refusal::NotFound(name(id))));
            }
        }
    }

    /// The sandbox is left alone until `hard_limit`; who waits learns when that is.
    fn spare(&mut self, id: &ProcessId, which: Deadline) {
        let Some(process) = self.tasks.get_mut(id) else { return };
        let (clock, kind) = match which {
            Deadline::Kill => (&mut process.kill, Kind::Signal(SIGKILL)),
            Deadline::Delete => (&mut process.delete, Kind::Delete),
        };
        if let Some(clock) = clock {
            (clock.spared, clock.asks) = (true, None);
        }
        for kind in [kind, Kind::End] {
            for request in self.requests_for(id, kind) {
                let since = self.waiting.get(&request).map_or(self.now, |waiting| waiting.since);
                let answer = self.pending(kind, id, since);
                self.reply(request, answer);
            }
        }
    }

    pub(crate) fn requests_for(&self, id: &ProcessId, kind: Kind) -> Vec<RequestId> {
        let wanted = |(_, waiting): &(&RequestId, &Waiting)| waiting.process == *id && waiting.kind == kind;
        self.waiting.iter().filter(wanted).map(|(request, _)| *request).collect()
    }
}
