//! A Create that hangs: what it began is killed, and only that. The escalation follows where that is the whole sandbox.

use alloc::string::String;

use crate::answers;
use crate::escalation::{locks, steps};
use crate::exits;
use crate::inflight::Kind;
use crate::io::{Note, Output, ProcessId, Step};
use crate::policy::{HOME, budgets};
use crate::settle;
use crate::state::State;
use crate::task::{Container, Deadline, Effect, Teardown};
use crate::time::Time;

/// When a Create, or the teardown of what it began, has to be over.
pub(crate) fn due(state: &State, container: &Container) -> Option<Time> {
    match (container.teardown(), container.create_sent()) {
        (Teardown::None, Some(sent)) => Some(sent + state.policy.create_deadline),
        (Teardown::Until(limit), _) => Some(limit),
        (Teardown::None, None) | (Teardown::Lost, _) => None,
    }
}

/// Tears down what has not come back, and gives up the teardown that has not.
pub(crate) fn judge(state: &mut State) {
    for id in state.tasks.container_ids() {
        let Some(container) = state.tasks.container(&id).filter(|_| state.is_open()) else { continue };
        if due(state, container).is_none_or(|due| due > state.now()) {
            continue;
        }
        if container.is_being_torn_down() { lose(state, &id) } else { begin(state, &id) }
    }
}

/// Kills what a Create began.
pub(crate) fn begin(state: &mut State, container: &str) {
    let limit = state.now() + budgets::KILL_SANDBOX + budgets::OVERLOAD + HOME;
    let Some(known) = state.tasks.container_mut(container) else { return };
    if known.teardown() == Teardown::None {
        known.set_teardown(Teardown::Until(limit));
        state.take_step(Step::KillCreate(container.into()));
    }
}

/// The teardown has not come back. Who waits for the Create is told; what it began was to die, so that a SIGKILL's
/// deadline runs for it.
fn lose(state: &mut State, container: &str) {
    let stuck = "its teardown did not come back, so what it began may still be there";
    if container == state.sandbox {
        return is_over(state, container.into(), stuck.into());
    }
    let now = state.now();
    let Some(known) = state.tasks.container_mut(container) else { return };
    known.set_teardown(Teardown::Lost);
    known.init.deadlines.start(Effect::Exit, Deadline::acknowledged_at(now));
    state.note(Note::CreateStuck { container: container.into(), stuck: stuck.into() });
    answers::refuse_create(state, &ProcessId::init(container), stuck);
}

/// What a Create began is killed; `stuck` says where it hung.
pub(crate) fn is_over(state: &mut State, container: String, stuck: String) {
    let process = ProcessId::init(&container);
    let sent = state.tasks.container(&container).and_then(Container::create_sent);
    state.note(Note::CreateStuck { container: container.clone(), stuck: stuck.clone() });
    let Some(sent) = sent.filter(|_| state.is_open()) else { return };
    if state.is_root(&process) {
        return steps::begin_after_create(state, container, stuck, sent);
    }
    answers::refuse_create(state, &process, &stuck);
    give_up_call(state, &process);
    locks::create_is_over(state, &process, sent);
    settle::one(state, &process);
    exits::never_came_to_be(state, &process);
    state.output(Output::Save);
}

/// What it began is dead, and yet the real shim may wait on, with its one lock: for the other end of a FIFO whose
/// reader, a containerd that was killed, is gone (30 s; gVisor pkg/shim/v1/proc/init.go).
fn give_up_call(state: &mut State, process: &ProcessId) {
    let mut calls = state.inflight.calls();
    let call = calls.find(|(_, call)| call.kind == Kind::Create && call.process == *process);
    if let Some(call) = call.map(|(id, _)| id) {
        drop(calls);
        state.cancel(call);
    }
}
