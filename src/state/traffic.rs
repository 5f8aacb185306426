//! What all methods do: answer, refuse, forward, give up.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use super::State;
use crate::error::GuardError;
use crate::inflight::{Call, Kind, PendingRequest};
use crate::io::{Answer, CallId, Note, Outcome, Output, OwnCall, ProcessId, RequestId, Step, Way};
use crate::phase::Phase;
use crate::time::Time;
use crate::timers::Timer;

/// How many calls that start something may be overdue at the real shim. More are refused at once: readiness
/// probes run an exec every few seconds, for days, whether or not anything comes back.
const OVERDUE: usize = 32;

impl State {
    pub(crate) fn output(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.output(Output::Note(note));
    }

    /// Has a step taken within its budget.
    pub(crate) fn take_step(&mut self, step: Step) {
        let budget = step.budget();
        self.take_step_within(step, budget);
    }

    pub(crate) fn take_step_within(&mut self, step: Step, budget: Duration) {
        self.output(Output::Step(step, budget));
    }

    pub(crate) fn answer_at_once(&mut self, id: RequestId, answer: Answer) {
        self.output(Output::Reply(id, answer));
    }

    pub(crate) fn refuse(&mut self, id: RequestId, error: GuardError) {
        self.answer_at_once(id, Answer::Error(error));
    }

    pub(crate) fn wait_for_answer(
        &mut self,
        id: RequestId,
        kind: Kind,
        process: ProcessId,
        due: Option<Time>,
    ) {
        self.inflight.wait(id, PendingRequest { kind, process, since: self.now(), due });
        self.timers.set_earlier(Timer::Answer, due);
    }

    /// Answers a request that still waits; one that does not has had its answer or lost its caller.
    pub(crate) fn reply(&mut self, id: RequestId, answer: Answer) {
        if self.stop_waiting(id) {
            self.output(Output::Reply(id, answer));
        }
    }

    /// The same answer to each of these.
    pub(crate) fn reply_all(&mut self, requests: Vec<RequestId>, answer: &Answer) {
        for request in requests {
            self.reply(request, answer.clone());
        }
    }

    /// An answer of its own to each that waits and is wanted.
    pub(crate) fn reply_each(
        &mut self,
        wanted: impl Fn(&PendingRequest) -> bool,
        answer: impl Fn(&mut Self, &PendingRequest) -> Answer,
    ) {
        for id in self.inflight.requests_where(wanted) {
            if let Some(request) = self.inflight.request(id).cloned() {
                let answer = answer(self, &request);
                self.reply(id, answer);
            }
        }
    }

    /// A request waits no longer; false if that was so already.
    pub(crate) fn stop_waiting(&mut self, id: RequestId) -> bool {
        let Some(request) = self.inflight.stop_waiting(id) else { return false };
        if request.due.is_some_and(|due| self.timers.get(Timer::Answer) == Some(due)) {
            self.arm_answers();
        }
        true
    }

    /// Requests of this kind are answered by `due` at the latest.
    pub(crate) fn hasten(&mut self, process: &ProcessId, kind: Kind, due: Time) {
        self.inflight.hasten(process, kind, due);
        self.arm_answers();
    }

    /// Why nothing can be forwarded now, if that is so.
    pub(crate) fn closed_to(&self, kind: Kind, process: &ProcessId) -> Option<GuardError> {
        let method = kind.method();
        let id = || process.to_string();
        match &self.phase {
            Phase::Open => self.overdue_for().map(|waited| GuardError::Late { method, id: id(), waited }),
            Phase::Ending(_) => {
                Some(GuardError::Ending { method, id: id(), why: "is being ended by the guard" })
            }
            Phase::Unkillable(_, stuck) => Some(stuck.error_for(method, process)),
            Phase::Gone(_) => Some(GuardError::Ending { method, id: id(), why: "was ended by the guard" }),
            Phase::Closing(_) | Phase::Closed => Some(GuardError::Closing(id())),
        }
    }

    /// For how long the real shim has owed an answer, where it owes too many.
    fn overdue_for(&self) -> Option<Duration> {
        let now = self.now();
        let starts = |kind| matches!(kind, Kind::Exec | Kind::Start | Kind::Plain(_));
        let overdue = |call: &&Call| starts(call.kind) && now > call.sent + call.timeout;
        let mut waited =
            self.inflight.calls().map(|(_, call)| call).filter(overdue).map(|call| now - call.sent);
        let longest = waited.next()?;
        (waited.count() + 1 >= OVERDUE).then_some(longest)
    }

    fn new_call(
        &mut self,
        kind: Kind,
        process: ProcessId,
        requests: Vec<RequestId>,
        timeout: Duration,
    ) -> CallId {
        self.inflight.add_call(Call { kind, process, requests, sent: self.now(), timeout })
    }

    /// Sends a request's own bytes on.
    pub(crate) fn forward(
        &mut self,
        request: RequestId,
        kind: Kind,
        process: ProcessId,
        timeout: Duration,
        way: Way,
    ) -> CallId {
        let call = self.new_call(kind, process, Vec::from([request]), timeout);
        self.output(Output::Forward { call, request, timeout, way });
        call
    }

    /// Sends a request of the guard's own.
    pub(crate) fn call(&mut self, kind: Kind, process: ProcessId, own: OwnCall, timeout: Duration) -> CallId {
        let call = self.new_call(kind, process, Vec::new(), timeout);
        self.output(Output::Call { call, own, timeout });
        call
    }

    pub(crate) fn cancel(&mut self, call: CallId) {
        if self.inflight.take_call(call).is_some() {
            self.output(Output::Cancel(call));
        }
    }

    /// Passes on what has just come in. After a lost connection there is nothing to pass on: those who wait
    /// are answered when their time is up, or when the real shim's death has been dealt with.
    pub(crate) fn relay(&mut self, requests: Vec<RequestId>, outcome: &Outcome) {
        if *outcome != Outcome::Lost {
            self.reply_all(requests, &Answer::Relay);
        }
    }

    /// An error that came when the call's own time was up says only that the real shim gave up. (One that was
    /// read late because the guard itself did not run is taken at its word: that is the safe side.)
    pub(crate) fn gave_up(&self, call: &Call, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Failed { .. })
            && !call.timeout.is_zero()
            && self.present.on_time() >= call.sent + call.timeout
    }
}
