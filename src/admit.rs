//! A request comes in: what is answered at once, what is forwarded, which clocks start.

use alloc::string::String;
use core::time::Duration;

use crate::call::Kind;
use crate::guard::{Guard, Phase, WIRE_SLACK};
use crate::io::{About, Answer, Lane, Op, Output, OwnCall, ProcessId, RequestId, Why};
use crate::policy::rungs;
use crate::refusal::Refusal;
use crate::task::{Clock, Life, Process};
use crate::timers::Timer;

/// How many calls that start something may be overdue at the real shim. More are refused at once: readiness
/// probes run an exec every few seconds, for days, whether or not anything comes back.
const OVERDUE: usize = 32;

impl Guard {
    pub(crate) fn admit(&mut self, id: RequestId, op: Op, caller: Option<Duration>) {
        let exec = self.policy.exec_deadline;
        let (method, process, limit) = match op {
            Op::Connect(container) => return self.connect(id, &container),
            Op::Join(container) => return self.join(id, container),
            Op::Shutdown => return self.shutdown(id, caller),
            Op::End(container) => return self.end(id, container, caller),
            Op::Reap => return self.reap(id),
            Op::Wait(process) => return self.wait(id, process),
            Op::State(process, sentry) => return self.state(id, process, sentry, caller),
            Op::Pids(container, sentry) => return self.pids(id, &container, sentry, caller),
            Op::Stats(container) => {
                return self.question(id, Kind::Stats, ProcessId::init(&container), caller);
            }
            Op::Create(container, about) => return self.create(id, container, about, caller),
            Op::Exec(process, about) => return self.exec(id, process, about, caller),
            Op::Kill { process, signal, all } => return self.kill(id, process, signal, all, caller),
            Op::Delete(process) => return self.delete(id, process, caller),
            Op::Start(process) => {
                let limit = if process.is_init() { self.policy.start_deadline } else { exec };
                (Kind::Start, process, limit)
            }
            Op::Checkpoint(container) => {
                let limit = caller.unwrap_or(self.policy.start_deadline);
                (Kind::Plain("Checkpoint"), ProcessId::init(&container), limit)
            }
            Op::Update(container) => (Kind::Plain("Update"), ProcessId::init(&container), exec),
            Op::Pause(container) => (Kind::Plain("Pause"), ProcessId::init(&container), exec),
            Op::Resume(container) => (Kind::Plain("Resume"), ProcessId::init(&container), exec),
            Op::ResizePty(process) => (Kind::Plain("ResizePty"), process, exec),
            Op::CloseIo(process) => (Kind::Plain("CloseIO"), process, exec),
        };
        self.plain(id, method, process, limit, caller);
    }

    pub(crate) fn answer_at_once(&mut self, id: RequestId, answer: Answer) {
        self.output(Output::Reply(id, answer));
    }

    pub(crate) fn refuse(&mut self, id: RequestId, refusal: Refusal) {
        self.answer_at_once(id, Answer::Refused(refusal));
    }

    /// Why nothing can be forwarded now, if that is so.
    pub(crate) fn closed_to(&self, kind: Kind, process: &ProcessId) -> Option<Refusal> {
        let (method, id) = (kind.method(), name(process));
        match &self.phase {
            Phase::Open => self.overdue_for().map(|waited| Refusal::Late { method, id, waited }),
            Phase::Ending(_) => Some(Refusal::Ending { method, id, why: "is being ended by the guard" }),
            Phase::Unkillable(_, stuck) => Some(Refusal::Unkillable { method, id, left: stuck.left.clone() }),
            Phase::Gone(_) => Some(Refusal::Ending { method, id, why: "was ended by the guard" }),
            Phase::Closing(_) | Phase::Closed => Some(Refusal::Closing(id)),
        }
    }

    /// For how long the real shim has owed an answer, where it owes too many.
    fn overdue_for(&self) -> Option<Duration> {
        let now = self.now;
        let starts = |kind| matches!(kind, Kind::Exec | Kind::Start | Kind::Plain(_));
        let overdue = self.calls.values().filter(|call| starts(call.kind) && now > call.sent + call.timeout);
        let mut waited = overdue.map(|call| now - call.sent);
        let longest = waited.next()?;
        (waited.count() + 1 >= OVERDUE).then_some(longest)
    }

    /// Forwards a request that starts no clock; a late one is an error and nothing else.
    pub(crate) fn plain(
        &mut self,
        id: RequestId,
        kind: Kind,
        process: ProcessId,
        limit: Duration,
        caller: Option<Duration>,
    ) {
        if let Some(refusal) = self.closed_to(kind, &process) {
            let open = matches!(self.phase, Phase::Open);
            let unknown = !open && self.tasks.get(&process).is_none();
            return self.refuse(id, if unknown { Refusal::NotFound(name(&process)) } else { refusal });
        }
        if self.is_released_alone(&process) {
            return self.refuse(id, Refusal::NotFound(name(&process)));
        }
        if let Kind::Plain(method) = kind {
            self.may_change(method, &process);
        }
        let due = self.answer_due(limit, caller);
        let timeout = caller.map_or(limit, |caller| caller.min(limit)) + WIRE_SLACK;
        self.wait_for_answer(id, kind, process.clone(), Some(due));
        self.forward(id, kind, process, timeout, Lane::Control);
    }

    /// After these a container may not run any more, or again: both when they are asked for and when they
    /// are done its state is the real shim's to tell.
    pub(crate) fn may_change(&mut self, method: &str, process: &ProcessId) {
        let now = self.now;
        if let ("Pause" | "Resume" | "Checkpoint", Some(known)) = (method, self.tasks.get_mut(process)) {
            known.may_change(now);
        }
    }

    fn join(&mut self, id: RequestId, container: String) {
        if matches!(self.phase, Phase::Open) {
            self.reserved.insert(container);
            self.vacant = None;
            self.timers.clear(Timer::Vacancy);
            self.answer_at_once(id, Answer::Done);
        } else {
            self.refuse(id, Refusal::Closing(container));
        }
    }

    /// An operator has the sandbox ended: the ladder begins now. What is on its way already is not begun again.
    fn reap(&mut self, id: RequestId) {
        if let Phase::Unkillable(_, stuck) = &self.phase {
            let (method, id_of, left) = ("Reap", self.sandbox.clone(), stuck.left.clone());
            return self.refuse(id, Refusal::Unkillable { method, id: id_of, left });
        }
        self.answer_at_once(id, Answer::Done);
        if matches!(self.phase, Phase::Open) {
            self.escalate(Why::Reaped, self.now);
        }
    }

    fn exec(&mut self, id: RequestId, process: ProcessId, about: About, caller: Option<Duration>) {
        let limit = self.policy.exec_deadline;
        let known = self.tasks.get(&process).is_some();
        let open = self.closed_to(Kind::Exec, &process).is_none();
        let born = self.next_call;
        match self.tasks.0.get_mut(&process.container) {
            Some(task) if open && !known => {
                task.execs.insert(process.exec.clone(), Process::new(born, about));
                self.forget_released(&process);
                self.listen_to(&process);
                self.plain(id, Kind::Exec, process, limit, caller);
            }
            // An exec id in use or an unknown container is the real shim's to judge.
            _ => self.plain(id, Kind::Plain("Exec"), process, limit, caller),
        }
    }

    fn wait(&mut self, id: RequestId, process: ProcessId) {
        let Some(known) = self.tasks.get(&process) else {
            return self.plain(id, Kind::Plain("Wait"), process, self.policy.exec_deadline, None);
        };
        if let Some(exit) = known.exit {
            return self.answer_at_once(id, Answer::Waited(exit));
        }
        let ask = known.wait_call.is_none();
        self.wait_for_answer(id, Kind::Wait, process.clone(), None);
        if ask && matches!(self.phase, Phase::Open) {
            let call = self.forward(id, Kind::Wait, process.clone(), Duration::ZERO, Lane::Wait);
            if let Some(known) = self.tasks.get_mut(&process) {
                known.wait_call = Some(call);
            }
        }
    }

    fn delete(&mut self, id: RequestId, process: ProcessId, caller: Option<Duration>) {
        let limit = self.policy.delete_deadline;
        let Some(known) = self.tasks.get(&process) else {
            return self.plain(id, Kind::Plain("Delete"), process, limit, caller);
        };
        if let (true, Some(exit)) = (known.deleted, known.exit) {
            self.forget(&process, exit);
            self.output(Output::Save);
            return self.answer_at_once(id, Answer::Deleted(exit));
        }
        let spared = known.delete.is_some_and(|clock| clock.spared);
        let due = Some(
            self.answer_due(if spared { limit } else { limit + rungs::TOTAL + rungs::OVERLOAD }, caller),
        );
        match &self.phase {
            Phase::Open => {}
            Phase::Ending(_) => return self.wait_for_answer(id, Kind::Delete, process, due),
            Phase::Unkillable(_, stuck) => {
                let left = stuck.left.clone();
                return self.refuse(id, Refusal::Unkillable { method: "Delete", id: name(&process), left });
            }
            Phase::Gone(_) | Phase::Closing(_) | Phase::Closed => {
                let answer = self.delete_from_record(&process);
                return self.answer_at_once(id, answer);
            }
        }
        self.wait_for_answer(id, Kind::Delete, process.clone(), due);
        let now = self.now;
        let Some(known) = self.tasks.get_mut(&process) else { return };
        known.delete.get_or_insert(Clock::starting(now)).ask_again(now);
        let (shared, releasing) = (known.delete_call, known.releasing.is_some());
        self.drop_pending(&process);
        if let Some(call) = shared.and_then(|call| self.calls.get_mut(&call)) {
            return call.requests.push(id);
        }
        if releasing {
            return;
        }
        let call = self.forward(id, Kind::Delete, process.clone(), limit + WIRE_SLACK, Lane::Control);
        if let Some(known) = self.tasks.get_mut(&process) {
            known.delete_call = Some(call);
        }
    }

    /// Deletes a process of a sandbox that the guard has ended: its exit once, then NOT_FOUND.
    pub(crate) fn delete_from_record(&mut self, process: &ProcessId) -> Answer {
        let Some(exit) = self.tasks.get(process).and_then(|known| known.exit) else {
            return Answer::Refused(Refusal::NotFound(name(process)));
        };
        self.remove(process);
        self.remember_deleted(process, exit);
        self.output(Output::Save);
        Answer::Deleted(exit)
    }

    /// `delete` asks for the end of one container, whatever its state.
    fn end(&mut self, id: RequestId, container: String, caller: Option<Duration>) {
        self.leaving = true;
        self.reserved.remove(&container);
        let process = ProcessId::init(&container);
        let due = self.answer_due(self.policy.delete_deadline * 2 + rungs::TOTAL, caller);
        let Some(known) = self.tasks.get_mut(&process) else {
            let answer = match self.deleted_exit(&container) {
                Some(exit) => Answer::Deleted(exit),
                None => Answer::Refused(Refusal::NotFound(container)),
            };
            self.answer_at_once(id, answer);
            return self.close_if_empty();
        };
        known.end = true;
        match &self.phase {
            Phase::Open => {
                self.wait_for_answer(id, Kind::End, process.clone(), Some(due));
                self.pursue_end(&process);
            }
            Phase::Ending(_) => self.wait_for_answer(id, Kind::End, process, Some(due)),
            Phase::Unkillable(_, stuck) => {
                let left = stuck.left.clone();
                self.refuse(id, Refusal::Unkillable { method: "delete", id: container, left });
            }
            Phase::Gone(_) | Phase::Closing(_) | Phase::Closed => {
                let answer = self.delete_from_record(&process);
                self.answer_at_once(id, answer);
                self.close_if_empty();
            }
        }
    }

    /// Kills a container on behalf of `delete`, or deletes it where it has ended or never ran.
    pub(crate) fn pursue_end(&mut self, process: &ProcessId) {
        let Some(known) = self.tasks.get(process) else { return };
        if known.exit.is_some() || known.life == Life::Added {
            self.delete_for_end(process);
        } else {
            self.kill_for_end(process);
        }
    }

    fn delete_for_end(&mut self, process: &ProcessId) {
        let now = self.now;
        let Some(known) = self.tasks.get_mut(process) else { return };
        if known.delete_call.is_some() || known.releasing.is_some() || known.life == Life::Adding {
            return;
        }
        known.delete.get_or_insert(Clock::starting(now));
        let own = OwnCall::Delete(process.clone());
        let timeout = self.policy.delete_deadline + WIRE_SLACK;
        let call = self.call(Kind::Delete, process.clone(), own, timeout);
        if let Some(known) = self.tasks.get_mut(process) {
            known.delete_call = Some(call);
        }
    }
}

/// A process in words: `container` or `container/exec`.
pub(crate) fn name(process: &ProcessId) -> String {
    if process.is_init() {
        process.container.clone()
    } else {
        alloc::format!("{}/{}", process.container, process.exec)
    }
}
