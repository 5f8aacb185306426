//! Start of a task or an exec: a late one is an error, and a sign of a wedge.

use core::time::Duration;

use crate::inflight::{Call, Kind};
use crate::io::{Outcome, ProcessId, RequestId, ResponseInfo};
use crate::method::plain;
use crate::signals;
use crate::state::State;

pub(crate) fn request(state: &mut State, id: RequestId, process: ProcessId, caller: Option<Duration>) {
    let policy = &state.policy;
    let limit = if process.is_init() { policy.start_deadline } else { policy.exec_deadline };
    plain::forward(state, id, Kind::Start, process, limit, caller);
}

pub(crate) fn response(state: &mut State, call: Call, outcome: &Outcome) {
    let now = state.now();
    if let Outcome::Done(_) = outcome {
        signals::has_started(state, &call.process);
    }
    if let (Outcome::Done(told), Some(process)) = (outcome, state.tasks.get_mut(&call.process)) {
        process.runs(call.sent, now);
        if let ResponseInfo::Pid(pid) = told {
            process.set_pid(*pid);
        }
    }
    state.relay(call.requests, outcome);
}
