//! The guard's own methods: `start` reserves a place, `delete` or a forgetful containerd has containers ended, an
//! operator has the whole sandbox ended.

use alloc::string::String;
use core::time::Duration;

use crate::error::GuardError;
use crate::escalation::steps;
use crate::inflight::Kind;
use crate::io::{Answer, Cause, Method, Note, ProcessId, RequestId};
use crate::method::delete::delete_for_end;
use crate::phase::Phase;
use crate::policy::budgets;
use crate::settle;
use crate::signals::kill_for_end;
use crate::state::State;

/// `start` reserves a place for one more container.
pub(crate) fn join(state: &mut State, id: RequestId, container: String) {
    if state.is_open() {
        state.vacancy.reserve(container);
        state.arm_vacancy();
        state.answer_at_once(id, Answer::Done);
    } else {
        state.refuse(id, GuardError::Closing(container));
    }
}

/// An operator has the sandbox ended: the escalation begins now. One that runs already is not begun again.
pub(crate) fn reap(state: &mut State, id: RequestId) {
    if let Phase::Unkillable(_, stuck) = state.phase() {
        return state.refuse(id, stuck.error_for(Method::Reap, &state.sandbox));
    }
    state.answer_at_once(id, Answer::Done);
    if state.is_open() {
        steps::begin(state, Cause::Reaped, state.now());
    }
}

/// `delete` asks for the end of one container, whatever its state.
pub(crate) fn end(state: &mut State, id: RequestId, container: String, caller: Option<Duration>) {
    state.vacancy.expect_no_shutdown();
    state.vacancy.release(&container);
    let process = ProcessId::init(&container);
    let due = state.answer_due(state.policy.delete_deadline * 2 + budgets::TOTAL, caller);
    let Some(known) = state.tasks.get_mut(&process) else {
        let answer = match state.exits.deleted_exit(&container) {
            Some(exit) => Answer::Deleted(exit),
            None => Answer::Error(GuardError::NotFound(container)),
        };
        state.answer_at_once(id, answer);
        return state.close_if_empty();
    };
    known.set_must_end();
    match state.phase() {
        Phase::Open => {
            state.wait_for_answer(id, Kind::End, process.clone(), Some(due));
            pursue_end(state, &process);
        }
        Phase::Ending(_) => state.wait_for_answer(id, Kind::End, process, Some(due)),
        Phase::Unkillable(_, stuck) => state.refuse(id, stuck.error_for(Method::End, &container)),
        Phase::Gone(_) | Phase::Closing(_) | Phase::Closed => {
            let answer = settle::delete_from_record(state, &process);
            state.answer_at_once(id, answer);
            state.close_if_empty();
        }
    }
}

/// Kills a container on behalf of `delete`, or deletes it where it has ended or never ran.
pub(crate) fn pursue_end(state: &mut State, process: &ProcessId) {
    let Some(known) = state.tasks.get(process) else { return };
    if known.has_ended() || known.is_added() {
        delete_for_end(state, process);
    } else {
        kill_for_end(state, process);
    }
}

/// containerd has forgotten the sandbox: what `delete` would have asked for, for each container.
pub(crate) fn end_what_is_forgotten(state: &mut State) {
    if !state.awaits_containerd() {
        return;
    }
    state.note(Note::Forgotten);
    state.vacancy.expect_no_shutdown();
    state.vacancy.release_all();
    for container in state.tasks.containers_mut() {
        container.init.set_must_end();
    }
    for container in state.tasks.container_ids() {
        let process = ProcessId::init(&container);
        if state.is_open() {
            pursue_end(state, &process);
        } else {
            settle::delete_from_record(state, &process);
        }
    }
    state.close_if_empty();
}
