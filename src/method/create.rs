//! Create: what it began is torn down when it hangs, and only that (`escalation::teardown`).

use alloc::string::String;
use core::time::Duration;

use crate::escalation::locks;
use crate::exits;
use crate::inflight::{Call, Kind};
use crate::io::{
    ConnectionKind, Method, Outcome, Output, ProcessId, ProcessSpec, RequestId, ResponseInfo, Way,
};
use crate::method::plain;
use crate::policy::budgets;
use crate::state::{State, WIRE_SLACK};
use crate::task::{Container, Process};

pub(crate) fn request(
    state: &mut State,
    id: RequestId,
    container: String,
    about: ProcessSpec,
    caller: Option<Duration>,
) {
    let process = ProcessId::init(&container);
    let limit = state.policy.create_deadline;
    if let Some(error) = state.closed_to(Kind::Create, &process) {
        return state.refuse(id, error);
    }
    if let Some(exit) = state.tasks.get(&process).and_then(Process::unheard_exit) {
        exits::forget(state, &process, exit);
    }
    if state.tasks.get(&process).is_some() {
        // A second Create of a living id is the real shim's to judge.
        return plain::forward(state, id, Kind::Plain(Method::Create), process, limit, caller);
    }
    state.vacancy.release(&container);
    state.exits.listen_to(&process);
    let born = state.inflight.next_call();
    state.tasks.add_container(container, Container::new(born, about, state.now()));
    // At its deadline the teardown answers, and says where it hung.
    let due = state.answer_due(limit + budgets::TOTAL * 2, caller);
    let timeout = caller.map_or(limit, |caller| caller.min(limit)) + WIRE_SLACK;
    state.wait_for_answer(id, Kind::Create, process.clone(), Some(due));
    // By a connection of its own, so that giving it up makes the real shim give it up.
    state.forward(id, Kind::Create, process, timeout, Way::Shim(ConnectionKind::Own));
    state.output(Output::Save);
}

pub(crate) fn response(state: &mut State, call: Call, outcome: Outcome) {
    let Some(container) = state.tasks.container_mut(&call.process.container) else { return };
    if container.is_being_torn_down() || outcome == Outcome::Lost {
        // Its answer waits for the teardown, which says where it hung; what became of a Create whose
        // connection is lost is not known, so its deadline stays.
        return;
    }
    let sent = container.create_returned();
    if let Outcome::Done(told) = &outcome {
        container.init.is_there();
        if let ResponseInfo::Pid(pid) = told {
            container.init.set_pid(*pid);
        }
    }
    state.relay(call.requests, &outcome);
    if let Some(sent) = sent {
        locks::create_is_over(state, &call.process, sent);
    }
    if let Outcome::Failed { .. } = outcome {
        exits::never_came_to_be(state, &call.process);
    }
    state.output(Output::Save);
}
