//! What SIGKILL does not end (state D). Until it dies nothing is claimed that is not so: who waits for the end goes on
//! waiting, everyone else is told what is in the way. Meanwhile the guard takes from it what it holds for others, and
//! tries to free it, again and again: at once as long as it is not known whether what holds it up hangs, then at ever
//! longer intervals.

use alloc::string::String;
use alloc::vec::Vec;

use crate::answers;
use crate::inflight::{Kind, PendingRequest};
use crate::io::{Answer, Note, Step};
use crate::phase::{Killing, Phase, Stuck};
use crate::settle;
use crate::state::State;

/// What is said where KillAll does not come back.
pub(crate) fn kill_lost() -> Vec<String> {
    Vec::from(["the sandbox: killing it has not come back, so that nobody knows what is left".into()])
}

/// KillAll could not kill these.
pub(crate) fn enter(state: &mut State, left: Vec<String>, killing: Killing) {
    let Phase::Ending(escalation) = state.phase() else { return };
    let escalation = escalation.clone();
    if state.is_leaving_the_node() {
        return settle::leave_with_node(state);
    }
    let stuck = free(state, left, killing);
    state.enter(Phase::Unkillable(escalation, stuck.clone()));
    let answer =
        |state: &mut State, PendingRequest { kind, process, .. }: &PendingRequest| match answers::late(
            state,
            *kind,
            process,
            state.now(),
        ) {
            known @ (Answer::State { .. } | Answer::Pids(_) | Answer::Done) => known,
            _ => Answer::Error(stuck.error_for(kind.method(), process)),
        };
    state.reply_each(|request| request.kind != Kind::Wait, answer);
}

/// The first attempt to free what is left.
pub(crate) fn free(state: &mut State, left: Vec<String>, killing: Killing) -> Stuck {
    state.note(Note::Unkillable(left.clone()));
    state.take_step(Step::Unblock);
    Stuck::new(left, killing, state.now())
}

/// An attempt is over. What has become free dies by itself, and that is an input of its own.
pub(crate) fn freed(state: &mut State, left: Vec<String>, undecided: bool) {
    let now = state.now();
    if let Some(stuck) = state.stuck_mut() {
        stuck.freed(left, undecided, now);
        state.arm_step();
    }
}

/// The next attempt is due.
pub(crate) fn try_again(state: &mut State) {
    let now = state.now();
    let Some(stuck) = state.stuck_mut() else { return };
    let step = stuck.next_attempt(now);
    state.arm_step();
    if let Some(step) = step {
        state.take_step(step);
    }
}

/// Whether a KillAll that was given up may still come back.
pub(crate) fn waits_for_kill(state: &State) -> bool {
    state.stuck().is_some_and(Stuck::waits_for_kill)
}

/// KillAll has come back after all, and has not killed these.
pub(crate) fn kill_came_back(state: &mut State, left: Vec<String>) {
    let now = state.now();
    if let Some(stuck) = state.stuck_mut() {
        stuck.kill_came_back(left, now);
        state.arm_step();
    }
}
