//! Which deadline passed, and what follows.
//!
//! The rules for one container of a pod: its SIGKILL or Delete costs the whole sandbox only if the sentry
//! does not answer, or the root container is being ended too; otherwise at `hard_limit`. Time that a request
//! spends behind another container's Create does not count, because Create holds the real shim's one lock
//! (gVisor pkg/shim/v1/runsc/service.go), unless probes show that the sentry does not answer at all.

use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::{Call, Kind, Waiting};
use crate::guard::{Guard, Phase};
use crate::io::{Answer, ProcessId, RequestId, Why};
use crate::policy::rungs;
use crate::probe::Verdict;
use crate::refusal::Refusal;
use crate::task::{Clock, Life, Process, SIGKILL};
use crate::time::Time;

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
    /// The next moment at which something is due.
    pub(crate) fn first_deadline(&self) -> Option<Time> {
        let answers = self.waiting.values().filter_map(|waiting| waiting.due);
        let open = matches!(self.phase, Phase::Open);
        let clocks = self.tasks.processes().filter(|_| open).flat_map(|(id, process)| {
            let clocks = Deadline::BOTH.map(|which| {
                let clock = which.of(process)?;
                let probe = self.probe_due(&id, which, &clock);
                self.due(&id, which, &clock).into_iter().chain(probe).min()
            });
            let lingers = process.lingers.map(|since| since + self.policy.kill_deadline);
            clocks.into_iter().chain([lingers]).flatten()
        });
        let creates = self.tasks.0.values().filter(|task| open && !task.torn_down);
        let creates = creates.filter_map(|task| task.creating).map(|at| at + self.policy.create_deadline);
        let phase = match &self.phase {
            Phase::Open => self.watch_due(),
            Phase::Ending(ladder) => ladder.due(),
            Phase::Closing(closing) => closing.due(),
            Phase::Unkillable(_, stuck) => stuck.due(),
            _ => None,
        };
        let phase = phase.into_iter().chain(self.vacancy_due());
        answers.chain(clocks).chain(creates).chain(phase).min()
    }

    pub(crate) fn tick(&mut self) {
        if self.now < self.not_before {
            return;
        }
        // What follows may be the very answer that is due.
        match self.phase {
            Phase::Open => self.judge_if_due(),
            Phase::Ending(_) => self.ladder_tick(),
            Phase::Closing(_) => self.closing_tick(),
            Phase::Unkillable(..) => self.free_again(),
            _ => {}
        }
        self.leave_if_vacant();
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
            Some(latest) => Refusal::Pending { method, id, waited, ends_in: latest - self.now },
            None => Refusal::PendingForever { method, id, waited },
        })
    }

    /// When a clock ends its sandbox even if everything speaks for sparing it.
    pub(crate) fn latest_end(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let limit = self.limit(which);
        let unheard = which == Deadline::Kill && !clock.acknowledged && !clock.spared;
        if self.is_root(id) || (unheard && self.blocking_create(id).is_none()) {
            return Some(clock.since + limit);
        }
        let limit = self.policy.hard_limit?.max(limit);
        let excused = self.blocking_create(id).map(|began| {
            let over = began + self.policy.create_deadline;
            over + limit.saturating_sub(began - clock.since)
        });
        Some(excused.unwrap_or(clock.since + limit))
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
    fn due(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let first = clock.since + self.limit(which);
        if self.tasks.0.get(&id.container)?.torn_down {
            return None;
        }
        if self.is_root(id) {
            return Some(first);
        }
        let spared = clock.since + self.policy.hard_limit.unwrap_or_default().max(self.limit(which));
        let due = match (clock.spared, self.policy.hard_limit) {
            (true, None) => return None,
            (true, Some(_)) => spared,
            (false, _) => first,
        };
        let verdict = self.verdict(clock);
        let waits = verdict == Verdict::Out && self.needs_verdict(id, which, clock);
        let excused = verdict != Verdict::Silent && self.behind_a_create(id);
        (self.now < due || !(waits || excused)).then_some(due)
    }

    /// When the Create of another container began that holds the real shim's lock, within its own deadline.
    fn blocking_create(&self, id: &ProcessId) -> Option<Time> {
        let others = self.tasks.0.iter().filter(|(container, _)| **container != id.container);
        let creates = others.filter_map(|(_, task)| task.creating);
        creates.filter(|began| self.now < *began + self.policy.create_deadline).min()
    }

    pub(crate) fn behind_a_create(&self, id: &ProcessId) -> bool {
        self.blocking_create(id).is_some()
    }

    pub(crate) fn root_is_ending(&self) -> bool {
        self.tasks.0.get(&self.sandbox).is_none_or(|root| {
            let root = &root.init;
            root.kill.is_some() || root.delete.is_some() || root.exit.is_some() || root.lingers.is_some()
        })
    }

    pub(crate) fn judge_if_due(&mut self) {
        if self.now < self.not_before {
            return;
        }
        for id in self.tasks.ids() {
            for which in Deadline::BOTH {
                if !matches!(self.phase, Phase::Open) {
                    return;
                }
                let Some(clock) = self.tasks.get(&id).and_then(|process| which.of(process)) else { continue };
                self.probe_if_due(&id, which, &clock);
                if self.due(&id, which, &clock).is_some_and(|due| due <= self.now) {
                    self.judge(&id, which, clock);
                }
            }
            let lingers = self.tasks.get(&id).and_then(|process| process.lingers);
            if let Some(since) = lingers.filter(|since| *since + self.policy.kill_deadline <= self.now)
                && matches!(self.phase, Phase::Open)
            {
                return self.escalate(Why::SentryLingers, since);
            }
        }
        if matches!(self.phase, Phase::Open) {
            self.check_creates();
        }
        self.watch_if_due();
    }

    /// A clock has run out.
    fn judge(&mut self, id: &ProcessId, which: Deadline, clock: Clock) {
        let why = match which {
            Deadline::Kill => Why::KillWithoutExit { process: id.clone(), acknowledged: clock.acknowledged },
            Deadline::Delete => Why::DeleteStuck(id.clone()),
        };
        let creating = self.tasks.0.get(&id.container).is_some_and(|task| task.creating.is_some());
        let exit = self.tasks.get(id).and_then(|process| process.exit);
        if creating {
            return self.tear_down_create(&id.container);
        }
        if let (Deadline::Delete, false, Some(exit)) = (which, id.is_init(), exit) {
            // An exec that has ended holds nothing but its output's copy in the real shim: the sandbox of a
            // healthy container is no price for that.
            let requests = self.requests_for(id, Kind::Delete);
            self.forget(id, exit);
            for request in requests {
                self.reply(request, Answer::Deleted(exit));
            }
            return;
        }
        if which == Deadline::Kill && clock.acknowledged && self.never_will_run(id) {
            return self.has_no_exit(id);
        }
        let answers = self.verdict(&clock) == Verdict::Answers;
        if !answers || !self.needs_verdict(id, which, &clock) {
            return self.escalate(why, clock.since);
        }
        self.spare(id, which);
    }

    /// A member that was created, and is neither started nor being started: what SIGKILL has destroyed, or what
    /// went with its root, was nothing that could end.
    fn never_will_run(&self, id: &ProcessId) -> bool {
        let added = self.tasks.get(id).is_some_and(|known| known.life == Life::Added);
        let starting = |call: &Call| call.process == *id && call.kind == Kind::Start;
        added && !self.is_root(id) && !self.calls.values().any(starting)
    }

    /// No exit will come of this process: nobody needs to wait for one.
    fn has_no_exit(&mut self, id: &ProcessId) {
        if let Some(known) = self.tasks.get_mut(id) {
            known.kill = None;
        }
        for waiter in self.requests_for(id, Kind::Wait) {
            self.reply(waiter, Answer::Refused(Refusal::NotFound(name(id))));
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
            clock.spared = true;
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
