//! The sandbox is dead: everything that still waits is answered, and when nothing more is to be done the guard ends.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::answers;
use crate::error::GuardError;
use crate::exits;
use crate::inflight::{Kind, PendingRequest};
use crate::io::{Answer, Output, ProcessId};
use crate::phase::Phase;
use crate::state::State;

/// Answers everything that still waits, but the Shutdowns.
pub(crate) fn all(state: &mut State) {
    let waiting = state.inflight.requests().filter(|(_, request)| request.kind != Kind::Shutdown);
    let waiting: Vec<ProcessId> = waiting.map(|(_, request)| request.process.clone()).collect();
    for process in waiting {
        one(state, &process);
    }
}

/// Answers whatever still waits for one process: a Delete last, after which nothing is known of it.
pub(crate) fn one(state: &mut State, process: &ProcessId) {
    let deletes = |request: &PendingRequest| matches!(request.kind, Kind::Delete | Kind::End);
    for last in [false, true] {
        let wanted = |request: &PendingRequest| request.process == *process && deletes(request) == last;
        state.reply_each(wanted, |state, request| answer(state, request.kind, process));
    }
}

fn answer(state: &mut State, kind: Kind, process: &ProcessId) -> Answer {
    let (method, id) = (kind.method(), process.to_string());
    let known = state.tasks.get(process);
    match (kind, known.and_then(|process| process.exit())) {
        (Kind::Delete, _) => delete_from_record(state, process),
        // The Delete of the same moment may have been first.
        (Kind::End, _) => match state.exits.deleted_exit(&process.container) {
            Some(exit) if known.is_none() => Answer::Deleted(exit),
            _ => delete_from_record(state, process),
        },
        (Kind::Wait, Some(exit)) => Answer::Waited(exit),
        (Kind::Kill(_), Some(_)) => Answer::Done,
        (Kind::State, Some(_)) => {
            answers::state_of(state, process).unwrap_or(Answer::Error(GuardError::NotFound(id)))
        }
        (Kind::Stats | Kind::Pids | Kind::KillEnded, Some(_)) => Answer::Error(GuardError::Finished(id)),
        _ => Answer::Error(state.closed_to(kind, process).unwrap_or(GuardError::Ending {
            method,
            id,
            why: "was torn down by the guard",
        })),
    }
}

/// Deletes a process of a sandbox that the guard has ended: its exit once, then NOT_FOUND.
pub(crate) fn delete_from_record(state: &mut State, process: &ProcessId) -> Answer {
    let Some(exit) = state.tasks.get(process).and_then(|process| process.exit()) else {
        return Answer::Error(GuardError::NotFound(process.to_string()));
    };
    exits::remove(state, process);
    state.exits.remember_deleted(process, exit);
    state.output(Output::Save);
    Answer::Deleted(exit)
}

/// No call comes back any more, and nobody is left waiting.
pub(crate) fn everybody(state: &mut State) {
    state.inflight.clear_calls();
    exits::publish_unpublished(state);
    all(state);
    state.output(Output::Save);
    shutdowns(state, &Answer::Done);
}

/// Answers the Shutdowns.
pub(crate) fn shutdowns(state: &mut State, answer: &Answer) {
    state.reply_each(|request| request.kind == Kind::Shutdown, |_, _| answer.clone());
}

/// Nothing more is to be done.
pub(crate) fn finish(state: &mut State) {
    state.enter(Phase::Closed);
    everybody(state);
    state.output(Output::Quit);
}

/// Ends the guard with its node. No exit is reported for a process that is not known to be dead: its callers get an
/// error.
pub(crate) fn leave_with_node(state: &mut State) {
    state.leave_behind();
    if !matches!(state.phase(), Phase::Gone(_)) {
        let answer = |_: &mut State, request: &PendingRequest| {
            let (method, id) = (request.kind.method(), request.process.to_string());
            Answer::Error(GuardError::Ending { method, id, why: "goes down with its node" })
        };
        state.reply_each(|_| true, answer);
    }
    finish(state);
}
