//! Wait: whoever knows of the exit first answers it, the real shim or the guard's record.

use core::time::Duration;

use crate::exit::Exit;
use crate::exits;
use crate::inflight::{Call, Kind};
use crate::io::{Answer, ConnectionKind, Method, Outcome, ProcessId, RequestId, ResponseInfo, Way};
use crate::method::plain;
use crate::state::State;
use crate::time::Time;

pub(crate) fn request(state: &mut State, id: RequestId, process: ProcessId, caller: Option<Duration>) {
    let Some(known) = state.tasks.get(&process) else {
        return plain::request(state, id, Method::Wait, process, caller);
    };
    if let Some(exit) = known.exit() {
        return state.answer_at_once(id, Answer::Waited(exit));
    }
    let unasked = known.wait_call().is_none();
    // No time but its caller's.
    let due = caller.map(|all| state.answer_due(all, caller));
    state.wait_for_answer(id, Kind::Wait, process.clone(), due);
    if unasked && state.is_open() {
        let call =
            state.forward(id, Kind::Wait, process.clone(), Duration::ZERO, Way::Shim(ConnectionKind::Wait));
        if let Some(known) = state.tasks.get_mut(&process) {
            known.set_wait_call(Some(call));
        }
    }
}

pub(crate) fn response(state: &mut State, call: Call, outcome: &Outcome) {
    let (now, limit) = (state.now(), state.policy.query_deadline);
    let id = &call.process;
    let Some(process) = state.tasks.get_mut(id) else {
        // An exec that was deleted with its container. After a teardown its exit answers, when published.
        if !state.is_forced() {
            state.relay(call.requests, outcome);
        }
        return;
    };
    process.set_wait_call(None);
    let (pid, ended) = (process.pid(), process.has_ended());
    match outcome {
        Outcome::Lost => {}
        Outcome::Done(_) if ended => {}
        Outcome::Done(ResponseInfo::Exit(exit)) => exited(state, id, Exit { pid, ..*exit }, outcome),
        Outcome::Failed { .. } | Outcome::Done(_) if state.is_forced() => {}
        // Errors and nothing else are no answer: what the guard knows to live has an exit to come.
        Outcome::Failed { not_found: false } if fails_for_long(state, id, now, limit) => {}
        Outcome::Failed { .. } | Outcome::Done(_) => {
            state.relay(state.inflight.requests_for(id, Kind::Wait), outcome);
        }
    }
}

fn fails_for_long(state: &mut State, id: &ProcessId, now: Time, limit: Duration) -> bool {
    state.tasks.get_mut(id).is_some_and(|process| process.wait_fails(now) + limit <= now)
}

fn exited(state: &mut State, id: &ProcessId, exit: Exit, outcome: &Outcome) {
    if exits::may_live(state) {
        return state.exits.withhold(id.clone(), exit);
    }
    if !state.is_forced() {
        // Byte for byte to those who wait now; the record answers those who come later.
        state.relay(state.inflight.requests_for(id, Kind::Wait), outcome);
    }
    exits::ended(state, id, exit);
}
