//! Shutdown, and the way out: when the last container is deleted, the real shim is told to go, what is left is released,
//! and the guard ends.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::escalation::unkillable::{self, kill_lost};
use crate::exits;
use crate::inflight::Kind;
use crate::io::{Answer, Method, Note, Outcome, Output, OwnCall, ProcessId, RequestId, Step, StepResult};
use crate::method::private;
use crate::phase::{Killing, Phase, Shutdown, ShutdownStep};
use crate::policy::{HOME, budgets};
use crate::settle;
use crate::state::State;

pub(crate) fn request(state: &mut State, id: RequestId, caller: Option<Duration>) {
    if let Some(stuck) = state.stuck() {
        return state.refuse(id, stuck.error_for(Method::Shutdown, &state.sandbox));
    }
    exits::forget_unclaimed(state);
    let needed = !state.tasks.is_empty() || state.vacancy.is_reserved();
    if needed || matches!(state.phase(), Phase::Closed) {
        // The real shim would answer an error here ("marshal called with nil"), and containerd 2.4 takes
        // that for a failed delete. Nothing has to happen until the last container is gone.
        state.answer_at_once(id, Answer::Done);
    } else {
        let due = Some(state.answer_due(state.policy.shutdown_deadline, caller));
        state.wait_for_answer(id, Kind::Shutdown, ProcessId::init(""), due);
    }
    state.close_if_empty();
}

/// The real shim ends by itself in milliseconds after it has answered a Shutdown; after an error it does not.
pub(crate) fn response(state: &mut State, outcome: &Outcome) {
    if matches!(outcome, Outcome::Failed { .. }) {
        real_shim_exited(state);
    }
}

/// The guard goes with the last container: after a Shutdown, or a private End, which no Shutdown follows.
pub(crate) fn close_if_empty(state: &mut State) {
    if state.vacancy.is_reserved() {
        return;
    }
    exits::forget_unclaimed(state);
    if !state.tasks.is_empty() {
        return pursue_ends(state);
    }
    match state.phase() {
        Phase::Open => {
            state.output(Output::StopListening);
            go_to(state, ShutdownStep::Asked);
        }
        Phase::Gone(left) => {
            let released = left.is_empty();
            state.output(Output::StopListening);
            if released { settle::finish(state) } else { go_to(state, ShutdownStep::Killing) }
        }
        Phase::Ending(_) | Phase::Unkillable(..) | Phase::Closing(_) | Phase::Closed => {}
    }
}

/// Where `delete` has asked for the end of every container that is left, nobody else will ask again.
fn pursue_ends(state: &mut State) {
    let all = state.tasks.containers().all(|(_, container)| container.init.must_end());
    if state.is_open() && all {
        for container in state.tasks.container_ids() {
            private::pursue_end(state, &ProcessId::init(&container));
        }
    }
}

/// Nobody has created a container for too long.
pub(crate) fn leave_vacant(state: &mut State) {
    state.vacancy.release_all();
    close_if_empty(state);
}

fn go_to(state: &mut State, step: ShutdownStep) {
    let now = state.now();
    let began = match state.phase() {
        Phase::Closing(shutdown) => shutdown.began(),
        _ => now,
    };
    let limit = state.policy.shutdown_deadline / 2;
    let budget = match step {
        ShutdownStep::Asked => limit,
        // Time alone proves nothing, but that it does not come back must be said.
        ShutdownStep::Killing => budgets::KILL_ALL + budgets::OVERLOAD + HOME,
        ShutdownStep::Releasing => budgets::RELEASE + budgets::PROVE,
        ShutdownStep::Overtime => budgets::OVERLOAD,
    };
    state.enter(Phase::Closing(Shutdown::new(began, step, now + budget)));
    match step {
        ShutdownStep::Asked => _ = state.call(Kind::Shutdown, ProcessId::init(""), OwnCall::Shutdown, limit),
        ShutdownStep::Killing => state.take_step(Step::KillAll),
        ShutdownStep::Releasing => state.take_step_within(Step::Release, budget + budgets::OVERLOAD),
        ShutdownStep::Overtime => settle::everybody(state),
    }
}

fn is_at(state: &State, step: ShutdownStep) -> bool {
    matches!(state.phase(), Phase::Closing(shutdown) if shutdown.step() == step)
}

/// The real shim has gone, or will not.
pub(crate) fn real_shim_exited(state: &mut State) {
    if is_at(state, ShutdownStep::Asked) {
        go_to(state, ShutdownStep::Killing);
    }
}

/// What kept the guard from closing is dead.
pub(crate) fn stuck_died(state: &mut State) {
    if is_at(state, ShutdownStep::Killing) {
        go_to(state, ShutdownStep::Killing);
    }
}

/// The step's budget is spent, or the next attempt to free what cannot be killed is due.
pub(crate) fn step_is_over(state: &mut State) {
    let Phase::Closing(shutdown) = state.phase() else { return };
    if !shutdown.takes_a_step() {
        return unkillable::try_again(state);
    }
    match shutdown.step() {
        ShutdownStep::Asked => go_to(state, ShutdownStep::Killing),
        ShutdownStep::Killing => get_stuck(state, kill_lost(), Killing::Lost),
        ShutdownStep::Releasing => go_to(state, ShutdownStep::Overtime),
        ShutdownStep::Overtime => {
            let left = Vec::from(["release did not return in its time".into()]);
            step_done(state, StepResult::Released { left });
        }
    }
}

/// A step has come back.
pub(crate) fn step_done(state: &mut State, done: StepResult) {
    let Phase::Closing(shutdown) = state.phase() else { return };
    match (shutdown.step(), done) {
        (ShutdownStep::Killing, StepResult::AllKilled { left, .. }) if left.is_empty() => {
            go_to(state, ShutdownStep::Releasing);
        }
        (ShutdownStep::Killing, StepResult::AllKilled { left, .. }) if unkillable::waits_for_kill(state) => {
            unkillable::kill_came_back(state, left);
        }
        (ShutdownStep::Killing, StepResult::AllKilled { left, .. }) => {
            get_stuck(state, left, Killing::CameBack);
        }
        (ShutdownStep::Releasing | ShutdownStep::Overtime, StepResult::Released { left }) => {
            let took = state.now() - shutdown.began();
            if !left.is_empty() {
                state.note(Note::Ended { took, left, unsure: false });
            }
            settle::finish(state);
        }
        _ => {}
    }
}

fn get_stuck(state: &mut State, left: Vec<String>, killing: Killing) {
    let stuck = unkillable::free(state, left, killing);
    let error = stuck.error_for(Method::Shutdown, &state.sandbox);
    if let Phase::Closing(shutdown) = state.phase_mut() {
        shutdown.set_stuck(stuck);
    }
    state.arm_step();
    settle::shutdowns(state, &Answer::Error(error));
}
