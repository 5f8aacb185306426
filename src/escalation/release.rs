//! Delete of what has ended costs nobody anything: where the real shim hangs over it, or answers with errors, the
//! guard releases this one container alone at the deadline, and the sandbox lives on.

use alloc::string::String;
use alloc::vec::Vec;

use crate::exit::Exit;
use crate::exits;
use crate::inflight::Kind;
use crate::io::{Answer, Note, Output, ProcessId, Step};
use crate::policy::{HOME, budgets};
use crate::state::State;
use crate::task::Effect;

/// An exec holds nothing but its output's copy in the real shim; a container is released first.
pub(crate) fn begin(state: &mut State, id: &ProcessId) {
    if !id.is_init() {
        return delete(state, id, 0);
    }
    let limit = state.now() + budgets::RELEASE_ONE + HOME;
    let Some(process) = state.tasks.get_mut(id) else { return };
    process.set_releasing_until(Some(limit));
    state.take_step(Step::ReleaseOne(id.container.clone()));
}

/// The container is released, as far as it could be.
pub(crate) fn is_over(state: &mut State, container: String, left: Vec<String>, at_ns: u64) {
    let (id, now) = (ProcessId::init(&container), state.now());
    let Some(process) = state.tasks.get_mut(&id).filter(|process| process.is_being_released()) else {
        return;
    };
    process.set_releasing_until(None);
    let waited = process.deadlines.of(Effect::Deletion).map(|deadline| now - deadline.since());
    state.note(Note::ReleasedOne { container, waited: waited.unwrap_or_default(), left });
    if state.is_open() {
        delete(state, &id, at_ns);
    }
}

/// A release that has not come back holds nobody up.
pub(crate) fn give_up_late(state: &mut State) {
    for container in state.tasks.container_ids() {
        let init = state.tasks.container(&container).map(|container| &container.init);
        let until = init.and_then(|init| init.releasing_until());
        if until.is_some_and(|until| until <= state.now()) {
            let left = "its release did not come back: its rootfs or a cgroup may still be there";
            is_over(state, container, Vec::from([left.into()]), 0);
        }
    }
}

/// Answers Delete with the exit; where nobody waits for that now, the next who asks is answered.
fn delete(state: &mut State, id: &ProcessId, at_ns: u64) {
    let requests = state.inflight.requests_for(id, Kind::Delete);
    let asked = !requests.is_empty() || !state.inflight.requests_for(id, Kind::End).is_empty();
    let Some(process) = state.tasks.get_mut(id) else { return };
    let exit = process.exit().unwrap_or(Exit::killed(process.pid(), at_ns));
    process.set_released_alone();
    let heard = asked || process.must_end();
    if !heard {
        process.set_deleted_unheard();
    }
    state.output(Output::Save);
    if !heard {
        return exits::ended(state, id, exit);
    }
    exits::forget(state, id, exit);
    state.reply_all(requests, &Answer::Deleted(exit));
}
