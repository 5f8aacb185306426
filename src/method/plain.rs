//! Update, Pause, Resume, Checkpoint, ResizePty and CloseIO, and whatever else starts no deadline of its own: a late one
//! is an error and nothing else.

use alloc::string::ToString;
use core::time::Duration;

use crate::error::GuardError;
use crate::inflight::{Call, Kind};
use crate::io::{ConnectionKind, Method, Outcome, ProcessId, RequestId, Status, Way};
use crate::state::{State, WIRE_SLACK};

/// A request for which nothing else is known: it has the time of an exec, and Checkpoint its caller's.
pub(crate) fn request(
    state: &mut State,
    id: RequestId,
    method: Method,
    process: ProcessId,
    caller: Option<Duration>,
) {
    let limit = match (method, caller) {
        (Method::Checkpoint, Some(caller)) => caller,
        (Method::Checkpoint, None) => state.policy.start_deadline,
        _ => state.policy.exec_deadline,
    };
    forward(state, id, Kind::Plain(method), process, limit, caller);
}

/// Forwards a request.
pub(crate) fn forward(
    state: &mut State,
    id: RequestId,
    kind: Kind,
    process: ProcessId,
    limit: Duration,
    caller: Option<Duration>,
) {
    let known = state.tasks.get(&process).is_some();
    if let Some(error) = state.closed_to(kind, &process) {
        let unknown = !state.is_open() && !known;
        let error = if unknown { GuardError::NotFound(process.to_string()) } else { error };
        return state.refuse(id, error);
    }
    if !known && state.exits.is_released(&process) {
        // Nobody can ask for it any more, even if the real shim still knows it.
        return state.refuse(id, GuardError::NotFound(process.to_string()));
    }
    if let Kind::Plain(method) = kind {
        may_change(state, method, &process);
    }
    let due = state.answer_due(limit, caller);
    let timeout = caller.map_or(limit, |caller| caller.min(limit)) + WIRE_SLACK;
    state.wait_for_answer(id, kind, process.clone(), Some(due));
    state.forward(id, kind, process, timeout, Way::Shim(ConnectionKind::Control));
}

/// The real shim has answered.
pub(crate) fn response(state: &mut State, call: Call, method: Method, outcome: &Outcome) {
    may_change(state, method, &call.process);
    let now = state.now();
    if let (Outcome::Done(_), Some(process)) = (outcome, state.tasks.get_mut(&call.process)) {
        match method {
            Method::Pause => process.pauses(Status::Paused, now),
            Method::Resume => process.resumes(now),
            _ => {}
        }
    }
    state.relay(call.requests, outcome);
}

/// After these a container may not run any more, or again: both when they are asked for and when they
/// are done its state is the real shim's to tell.
fn may_change(state: &mut State, method: Method, process: &ProcessId) {
    let now = state.now();
    if let (Method::Pause | Method::Resume | Method::Checkpoint, Some(process)) =
        (method, state.tasks.get_mut(process))
    {
        process.may_change(now);
    }
}
