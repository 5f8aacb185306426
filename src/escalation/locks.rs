//! Time behind the real shim's locks, which does not count: a Create holds the one lock of all containers, a Start or
//! an Update its container's (gVisor pkg/shim/v1/runsc/service.go, proc/init.go), each within its own deadline.

use crate::inflight::{Call, Kind};
use crate::io::{Method, ProcessId};
use crate::state::State;
use crate::task::Deadline;
use crate::time::Time;

/// Since when something has held up what this deadline waits for, and until when that is an excuse. What was
/// acknowledged waits for no lock of another request's; but no exit is reported during a Create.
pub(crate) fn held_since(state: &State, id: &ProcessId, deadline: &Deadline) -> Option<(Time, Time)> {
    let others = state.tasks.containers().filter(|(container, _)| **container != id.container);
    let creates = others.filter_map(|(_, container)| container.create_sent());
    let creates = creates.map(|began| (began, began + state.policy.create_deadline));
    let calls = state.inflight.calls().map(|(_, call)| call);
    let calls = calls.filter(|call| !deadline.is_acknowledged() && holds_a_lock(call));
    let calls = calls.map(|call| (call.sent, call.sent + call.timeout));
    creates.chain(calls).filter(|(_, over)| state.now() < *over).min()
}

/// Another container's Create is over: what waited behind it has its own time again.
pub(crate) fn create_is_over(state: &mut State, created: &ProcessId, began: Time) {
    has_waited(state, began, |id, _| id.container != created.container);
}

/// A call is over that may have held a lock.
pub(crate) fn call_is_over(state: &mut State, call: &Call) {
    if holds_a_lock(call) {
        has_waited(state, call.sent, |_, deadline| !deadline.is_acknowledged());
    }
}

fn has_waited(state: &mut State, began: Time, behind: impl Fn(&ProcessId, &Deadline) -> bool) {
    let now = state.now();
    for id in state.tasks.ids() {
        if let Some(process) = state.tasks.get_mut(&id) {
            process.deadlines.excuse(began, now, |deadline| behind(&id, deadline));
        }
    }
}

fn holds_a_lock(call: &Call) -> bool {
    let locks = matches!(call.kind, Kind::Start | Kind::Plain(Method::Update | Method::Checkpoint));
    locks && call.process.is_init()
}
