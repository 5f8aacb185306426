//! State, Pids and Stats: one call in flight for all who ask, and none at all for a while after one was
//! late. Days of polling a wedged sandbox must cost neither the callers time nor the real shim memory, and a containerd
//! that comes back asks all of them before it serves anybody: a sandbox that is silent costs it one question, not one
//! for each of its containers, and one that /proc shows to be stopped none.

use core::time::Duration;

use crate::call::{Call, Kind};
use crate::guard::{Guard, Phase, WIRE_SLACK};
use crate::io::{Answer, CallId, Lane, Outcome, ProcessId, RequestId, Sentry, Status, Told};
use crate::policy::ASK_AGAIN_AFTER;
use crate::task::{Ask, Life};
use crate::time::Time;
use crate::watchdog::Watch;

/// How long callers wait for a question whose last answer was late.
const SUSPECT_PATIENCE: Duration = Duration::from_millis(20);

impl Guard {
    pub(crate) fn state(
        &mut self,
        id: RequestId,
        process: ProcessId,
        sentry: Sentry,
        caller: Option<Duration>,
    ) {
        // While something cannot be killed, nobody is told that it has ended.
        let dead = sentry == Sentry::Dead && !matches!(self.phase, Phase::Unkillable(..));
        let now = self.now;
        if sentry == Sentry::Stopped {
            self.suspect(now);
        }
        let open = matches!(self.phase, Phase::Open);
        let settled = self.tasks.get_mut(&process).is_some_and(|known| {
            known.sentry_dead = dead;
            // Of an exec the real shim knows the state without a runsc.
            let certain = open && process.is_init() && known.is_certain(now);
            known.exit.is_some() || certain
        });
        if (settled || sentry == Sentry::Stopped)
            && let Some(answer) = self.state_from_record(&process)
        {
            return self.answer_at_once(id, answer);
        }
        self.question(id, Kind::State, process, caller);
    }

    pub(crate) fn pids(&mut self, id: RequestId, container: &str, sentry: Sentry, caller: Option<Duration>) {
        let process = ProcessId::init(container);
        if sentry == Sentry::Stopped {
            self.suspect(self.now);
        }
        // Where the sentry is dead the exit is on its way: until it is known, containerd must not take the container
        // for one that nobody needs to hear of any more.
        let ends =
            sentry == Sentry::Dead && self.tasks.get(&process).is_some_and(|known| known.exit.is_none());
        if (ends || sentry == Sentry::Stopped)
            && let Some(answer) = self.pids_from_record(container)
        {
            return self.answer_at_once(id, answer);
        }
        self.question(id, Kind::Pids, process, caller);
    }

    /// A question that callers share; answered from the record where the real shim is late.
    pub(crate) fn question(
        &mut self,
        id: RequestId,
        kind: Kind,
        process: ProcessId,
        caller: Option<Duration>,
    ) {
        let limit = self.question_limit(kind);
        let now = self.now;
        let open = matches!(self.phase, Phase::Open);
        let Some(ask) = self.ask(kind, &process) else {
            return self.plain(id, kind, process, limit, caller);
        };
        let (call, sent, late) = (ask.call, ask.sent, ask.is_late(now, limit));
        if late {
            self.suspect(sent);
        }
        if !open || (late && (call.is_some() || now < sent + ASK_AGAIN_AFTER)) {
            let answer = self.late_answer(kind, &process, sent);
            return self.answer_at_once(id, answer);
        }
        let hushed = kind != Kind::Stats && self.is_hushed();
        let patience = if late || hushed { SUSPECT_PATIENCE.min(limit) } else { limit };
        let due = self.answer_due(patience, caller);
        self.wait_for_answer(id, kind, process.clone(), Some(due));
        if let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) {
            return call.requests.push(id);
        }
        let call = self.forward(id, kind, process.clone(), limit + WIRE_SLACK, Lane::Control);
        if let Some(ask) = self.ask(kind, &process) {
            ask.call = Some(call);
            ask.sent = now;
        }
    }

    /// Whether the sandbox owes an answer that it was asked for after it was last heard: nobody else need wait for it
    /// again. (A container of which the real shim holds the lock hushes nobody who is answered.)
    fn is_hushed(&self) -> bool {
        let heard = match self.watch {
            Watch::Quiet(heard) | Watch::Suspects(heard) => heard,
            Watch::Reported(_) => return true,
        };
        let asks = self.tasks.0.values().flat_map(|task| {
            let state = (&task.init.state, self.policy.query_deadline);
            let pids = (&task.pids, self.policy.query_deadline);
            [state, pids, (&task.stats, self.policy.stats_deadline)]
        });
        asks.into_iter().any(|(ask, limit)| ask.sent >= heard && ask.is_owed(self.now, limit))
    }

    /// The configured time of a question.
    pub(crate) fn question_limit(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Stats => self.policy.stats_deadline,
            _ => self.policy.query_deadline,
        }
    }

    pub(crate) fn ask(&mut self, kind: Kind, process: &ProcessId) -> Option<&mut Ask> {
        match kind {
            Kind::State => self.tasks.get_mut(process).map(|known| &mut known.state),
            Kind::Pids => self.tasks.0.get_mut(&process.container).map(|task| &mut task.pids),
            _ => self.tasks.0.get_mut(&process.container).map(|task| &mut task.stats),
        }
    }

    pub(crate) fn question_returned(&mut self, id: CallId, call: Call, outcome: Outcome) {
        let missed = self.gave_up(&call, &outcome) || outcome == Outcome::Lost;
        if let Some(ask) = self.ask(call.kind, &call.process)
            && ask.call == Some(id)
        {
            ask.call = None;
            ask.missed = missed;
            match outcome {
                Outcome::Failed { not_found: false } => _ = ask.failing.get_or_insert(call.sent),
                _ => ask.failing = None,
            }
        }
        let failing = self.ask(call.kind, &call.process).and_then(|ask| ask.failing);
        if let Outcome::Done(Told::State { status, pid }) = outcome {
            self.learn_state(&call.process, status, pid, call.sent);
        }
        // An error that the ladder caused says nothing about the process.
        let open = matches!(self.phase, Phase::Open);
        let caused = !open && matches!(outcome, Outcome::Failed { .. });
        // Nor is one an answer that comes each time: to CRI, State's would mean for ever that no Kill may follow.
        let limit = self.question_limit(call.kind);
        let in_vain = failing.is_some_and(|since| self.now >= since + limit) && call.kind != Kind::Stats;
        if let Some(since) = failing.filter(|_| open) {
            self.suspect_failing(&call.process, since);
        }
        if !missed && !caused && !in_vain {
            return self.relay(call.requests, &outcome);
        }
        for request in call.requests {
            let since = self.waiting.get(&request).map_or(self.now, |waiting| waiting.since);
            let answer = self.late_answer(call.kind, &call.process, since);
            self.reply(request, answer);
        }
    }

    fn learn_state(&mut self, id: &ProcessId, status: Status, pid: u32, asked: Time) {
        let root = self.is_root(id);
        let now = self.now;
        let Some(process) = self.tasks.get_mut(id) else { return };
        if pid != 0 && process.pid == 0 {
            process.pid = pid;
        }
        match status {
            Status::Running => {
                process.runs(asked, now);
                process.lingers = None;
            }
            Status::Paused | Status::Pausing => {
                process.status = status;
                process.may_change(now);
                process.lingers = None;
            }
            Status::Stopped if root && process.exit.is_none() && process.life == Life::Started => {
                process.lingers.get_or_insert(now);
            }
            _ => {}
        }
    }

    /// The state of a process as the record has it.
    pub(crate) fn state_from_record(&self, id: &ProcessId) -> Option<Answer> {
        let process = self.tasks.get(id)?;
        let mut about = process.about.clone();
        if !id.is_init() {
            about.bundle = self.tasks.0.get(&id.container)?.init.about.bundle.clone();
        }
        Some(Answer::State {
            process: id.clone(),
            about,
            status: process.status(),
            pid: process.pid,
            exit: process.exit,
        })
    }

    /// The pids of a container as the record has them: the sentry's, as long as it is not known to be gone.
    pub(crate) fn pids_from_record(&self, container: &str) -> Option<Answer> {
        let init = &self.tasks.0.get(container)?.init;
        let gone = init.exit.is_some() || init.pid == 0;
        Some(Answer::Pids(if gone { Default::default() } else { [init.pid].into() }))
    }

    pub(crate) fn connect(&mut self, id: RequestId, container: &str) {
        let pid = self.tasks.0.get(container).map_or(0, |task| task.init.pid);
        self.answer_at_once(id, Answer::Connect(pid));
    }
}
