//! Exits: who is told of one, and that the guard publishes each exactly once (rule 3).
//!
//! What the real shim publishes goes on as it comes, also in an order that is odd, or twice (rule 2): the start of a
//! short exec after its exit is one of its own making. Only an exit that the *guard* has published
//! is final: what the real shim still publishes of that process is dropped.

use alloc::string::ToString;

use crate::error::GuardError;
use crate::exit::{Exit, Publisher};
use crate::inflight::Kind;
use crate::io::{Answer, Event, Output, ProcessId, Publication};
use crate::phase::Phase;
use crate::signals;
use crate::state::State;
use crate::task::{Deadline, Effect, Life, Process, SIGKILL};

pub(crate) mod memory;

use memory::UnpublishedExit;

/// The real shim has published an event.
pub(crate) fn event(state: &mut State, event: Event) {
    match event {
        Event::Exit(id, exit) => {
            let id = whose(state, id, exit.pid);
            exit_event(state, id, exit);
        }
        Event::Alive(id) => alive_event(state, &id),
        Event::Other => state.output(Output::Publish(Publication::AsReceived)),
    }
}

fn alive_event(state: &mut State, id: &ProcessId) {
    if state.tasks.get(id).is_some_and(Process::is_added) {
        signals::has_started(state, id);
    }
    if !is_silenced(state, id) {
        state.output(Output::Publish(Publication::AsReceived));
    }
}

/// Whose exit an event tells. An exec may have the name of its container, and init has it too: the event then looks the
/// same, but for the pid.
fn whose(state: &State, id: ProcessId, pid: u32) -> ProcessId {
    if !id.is_init() || state.tasks.get(&id).is_some_and(|init| init.pid() == pid) {
        return id;
    }
    let exec = ProcessId { exec: id.container.clone(), container: id.container.clone() };
    let is_known = state.tasks.get(&exec).is_some() || state.exits.awaits(&exec);
    if is_known { exec } else { id }
}

/// Whether the guard has published the exit of a process.
fn is_silenced(state: &State, id: &ProcessId) -> bool {
    match state.tasks.get(id) {
        Some(process) => process.publisher() == Some(Publisher::Guard),
        None => state.exits.is_silenced(id),
    }
}

fn exit_event(state: &mut State, id: ProcessId, exit: Exit) {
    let seen = state.told(exit);
    if let Some(deleted) = state.exits.take_unpublished(&id) {
        // Events come in order: this is the process that was deleted, though its name may be in use again.
        let told = if deleted.is_guess { seen } else { deleted.exit };
        let publisher = publish_received(state, &id, exit, told);
        state.exits.remember_publisher(&id, publisher);
        return answer_waiters(state, &id, told);
    }
    if is_silenced(state, &id) {
        return;
    }
    let Some(process) = state.tasks.get(&id).filter(|process| process.publisher().is_none()) else {
        // Said before, or of what is deleted.
        return state.output(Output::Publish(Publication::AsReceived));
    };
    // A status that was told already (by Wait or Delete) stays.
    let told = process.exit().unwrap_or(seen);
    if may_live(state) {
        return state.exits.withhold(id, seen);
    }
    let publisher = publish_received(state, &id, exit, told);
    is_published(state, &id, publisher);
    ended(state, &id, told);
}

fn is_published(state: &mut State, id: &ProcessId, publisher: Publisher) {
    if let Some(process) = state.tasks.get_mut(id) {
        process.is_published_by(publisher);
    }
}

/// The guard has begun to kill the sandbox, which may not be dead: a thread in state D keeps it alive, though nothing in it
/// answers any more. What the real shim has lost by that is no exit yet; and who is told of one, even of a true one,
/// asks for a Delete at once, which cannot be done and is tried again ever more seldom.
pub(crate) fn may_live(state: &State) -> bool {
    let ended = match state.phase() {
        Phase::Ending(escalation) => escalation.has_killed(),
        Phase::Unkillable(..) => false,
        Phase::Open | Phase::Gone(_) | Phase::Closing(_) | Phase::Closed => true,
    };
    state.is_forced() && !ended
}

/// The sandbox is dead: what the real shim said of it was so.
pub(crate) fn tell_withheld(state: &mut State) {
    for (id, exit) in state.exits.take_withheld() {
        let Some(process) = state.tasks.get(&id).filter(|process| process.publisher().is_none()) else {
            continue;
        };
        let told = process.exit().unwrap_or(exit);
        publish(state, &id, told);
        is_published(state, &id, Publisher::Guard);
        ended(state, &id, told);
    }
}

/// Publishes the exit event that has just come in; after a kill of the guard's with the status that was told, where
/// that is another.
fn publish_received(state: &mut State, id: &ProcessId, seen: Exit, told: Exit) -> Publisher {
    if !state.is_forced() || told.status == seen.status {
        state.output(Output::Publish(Publication::AsReceived));
        return Publisher::RealShim;
    }
    publish(state, id, told);
    Publisher::Guard
}

/// Publishes an exit that the real shim never will, or not with the status that was told.
fn publish(state: &mut State, id: &ProcessId, exit: Exit) {
    state.output(Output::Publish(Publication::Exit(id.clone(), exit)));
}

/// The exit of a process is known: whoever waits for it is answered, whatever ran for it is over.
pub(crate) fn ended(state: &mut State, id: &ProcessId, exit: Exit) {
    let now = state.now();
    let Some(process) = state.tasks.get_mut(id) else { return };
    if !process.ends(exit, now) {
        return;
    }
    if process.must_end() {
        state.pursue_later(id.clone());
    }
    answer_waiters(state, id, exit);
    signals::drop_pending(state, id);
    // A SIGKILL whose effect is there is answered by the real shim in a moment, or by the guard soon after.
    state.hasten(id, Kind::Kill(SIGKILL), now + state.policy.signal_deadline);
    if state.is_root(id) {
        members_are_due(state);
    }
    state.output(Output::Save);
}

/// The root's exit is known when its sandbox is gone: the exits of the members must follow, and no request about a
/// member can succeed any more.
fn members_are_due(state: &mut State) {
    let deadline = Deadline::acknowledged_at(state.now());
    for member in state.tasks.containers_mut().map(|container| &mut container.init) {
        if !member.has_ended() {
            member.deadlines.start(Effect::Exit, deadline);
        }
    }
}

fn answer_waiters(state: &mut State, id: &ProcessId, exit: Exit) {
    state.reply_all(state.inflight.requests_for(id, Kind::Wait), &Answer::Waited(exit));
}

/// A process is deleted, and with a container its execs: only the exit is remembered, and whether that
/// was ever published.
pub(crate) fn forget(state: &mut State, id: &ProcessId, exit: Exit) {
    state.exits.remember_deleted(id, exit);
    for exec in state.tasks.execs_of(id) {
        forget_exec_of_deleted(state, &exec, exit);
    }
    answer_waiters(state, id, exit);
    signals::drop_all(state, id);
    let Some(process) = remove(state, id) else { return };
    if process.is_released_alone() {
        state.exits.remember_released(id);
    }
    if let Some(call) = process.wait_call() {
        state.cancel(call);
    }
    if process.is_started() && process.publisher().is_none() {
        await_event(state, id, UnpublishedExit { exit, is_guess: false });
    }
    state.reply_all(state.inflight.requests_for(id, Kind::End), &Answer::Deleted(exit));
    if process.must_end() {
        state.close_if_empty();
    }
}

/// An exec may outlast its container's Delete by a moment: the real shim still answers its Wait and
/// publishes its exit.
fn forget_exec_of_deleted(state: &mut State, id: &ProcessId, container: Exit) {
    signals::drop_all(state, id);
    let Some(exec) = remove(state, id) else { return };
    let guess = Exit::killed(exec.pid(), container.at_ns);
    if exec.is_started() && exec.publisher().is_none() {
        let (exit, is_guess) = (exec.exit().unwrap_or(guess), !exec.has_ended());
        await_event(state, id, UnpublishedExit { exit, is_guess });
    }
    let waiters = state.inflight.requests_for(id, Kind::Wait);
    if exec.wait_call().is_some_and(|call| state.inflight.hand_over(call, &waiters)) {
        return;
    }
    state.reply_all(waiters, &Answer::Error(GuardError::NotFound(id.to_string())));
}

/// The real shim will publish this exit, or the guard once too many wait for that.
fn await_event(state: &mut State, id: &ProcessId, exit: UnpublishedExit) {
    if let Some((id, exit)) = state.exits.await_event(id, exit) {
        publish_deleted(state, &id, exit);
    }
}

fn publish_deleted(state: &mut State, id: &ProcessId, UnpublishedExit { exit, .. }: UnpublishedExit) {
    publish(state, id, exit);
    state.exits.remember_publisher(id, Publisher::Guard);
    answer_waiters(state, id, exit);
}

/// The real shim will publish nothing any more.
pub(crate) fn publish_unpublished(state: &mut State) {
    for (id, exit) in state.exits.take_all_unpublished() {
        publish_deleted(state, &id, exit);
    }
}

/// Removes a process and, with a container, its execs.
pub(crate) fn remove(state: &mut State, id: &ProcessId) -> Option<Process> {
    for exec in state.tasks.execs_of(id) {
        remove(state, &exec);
    }
    let removed = state.tasks.remove(id)?;
    if let Some(publisher) = removed.publisher() {
        state.exits.remember_publisher(id, publisher);
    }
    Some(removed)
}

/// Forgets a process whose Create or Exec came to nothing; who waited for it learns that.
pub(crate) fn never_came_to_be(state: &mut State, process: &ProcessId) {
    let gone = remove(state, process);
    let unknown = Answer::Error(GuardError::NotFound(process.to_string()));
    for kind in [Kind::Wait, Kind::End] {
        state.reply_all(state.inflight.requests_for(process, kind), &unknown);
    }
    if gone.is_some_and(|gone| gone.must_end()) {
        state.close_if_empty();
    }
}

/// Everything is dead: each process that was created and has no exit has one now, published once.
pub(crate) fn establish(state: &mut State, at_ns: u64) {
    tell_withheld(state);
    for id in state.tasks.ids() {
        let Some(process) = state.tasks.get_mut(&id) else { continue };
        if process.life() == Life::Adding {
            continue;
        }
        let exit = process.exit().unwrap_or(Exit::killed(process.pid(), at_ns));
        let told = process.publisher().is_none() && (id.is_init() || process.is_started());
        process.is_published_by(Publisher::Guard);
        if told {
            publish(state, &id, exit);
        }
        ended(state, &id, exit);
    }
    publish_unpublished(state);
    state.reply_each(|request| request.kind == Kind::Kill(SIGKILL), |_, _| Answer::Done);
}

/// The root is deleted, and what else was deleted while nobody heard of it nobody asks for any more: containerd ends
/// the root last. (One that was killed meanwhile and could not run `delete`, in a bundle that is gone, does not.)
pub(crate) fn forget_unclaimed(state: &mut State) {
    if state.tasks.container(&state.sandbox).is_some() {
        return;
    }
    for id in state.tasks.container_ids() {
        let id = ProcessId::init(&id);
        if let Some(exit) = state.tasks.get(&id).and_then(Process::unheard_exit) {
            forget(state, &id, exit);
            state.output(Output::Save);
        }
    }
}
