//! Exec: adds a process to a container.

use core::time::Duration;

use crate::exits;
use crate::inflight::{Call, Kind};
use crate::io::{Method, Outcome, ProcessId, ProcessSpec, RequestId};
use crate::method::plain;
use crate::state::State;

pub(crate) fn request(
    state: &mut State,
    id: RequestId,
    process: ProcessId,
    about: ProcessSpec,
    caller: Option<Duration>,
) {
    let unknown = state.tasks.get(&process).is_none();
    let open = state.closed_to(Kind::Exec, &process).is_none();
    let born = state.inflight.next_call();
    // An exec id in use or an unknown container is the real shim's to judge.
    if !(open && unknown && state.tasks.add_exec(&process, born, about)) {
        return plain::request(state, id, Method::Exec, process, caller);
    }
    state.exits.listen_to(&process);
    let limit = state.policy.exec_deadline;
    plain::forward(state, id, Kind::Exec, process, limit, caller);
}

pub(crate) fn response(state: &mut State, call: Call, outcome: &Outcome) {
    match (outcome, state.tasks.get_mut(&call.process)) {
        (Outcome::Done(_), Some(process)) => process.is_there(),
        (Outcome::Done(_), None) => {}
        // Nobody knows of an exec whose answer is lost, so nobody will start it.
        (Outcome::Failed { .. } | Outcome::Lost, _) => exits::never_came_to_be(state, &call.process),
    }
    state.relay(call.requests, outcome);
}
