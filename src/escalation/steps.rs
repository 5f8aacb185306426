//! The steps of an escalation, from the first look to the proof that nothing is left, each with a budget of its own.
//!
//! Once begun they always run to the end: after the guard has killed a sentry it lets no runsc command run again,
//! because `runsc delete` would kill the pid in its state file unchecked (rule 1). The real shim keeps the time of
//! KillSandbox to report the exits itself.

use alloc::string::String;
use alloc::vec::Vec;

use crate::answers;
use crate::escalation::unkillable::{self, kill_lost};
use crate::exits;
use crate::io::{Cause, Note, Output, ProcessId, Step, StepResult};
use crate::phase::{Escalation, Killing, Phase};
use crate::policy::{HOME, budgets};
use crate::settle;
use crate::state::State;
use crate::task::{Life, Process};
use crate::time::Time;

/// A wedge: the escalation begins. `since` is when the effect was first asked for.
pub(crate) fn begin(state: &mut State, cause: Cause, since: Time) {
    let waited = state.now() - since;
    state.note(Note::Wedged { cause, waited });
    go_to(state, Step::Diagnose);
}

/// What the root container's Create began is dead, and that was all of the sandbox.
pub(crate) fn begin_after_create(state: &mut State, container: String, stuck: String, since: Time) {
    let waited = state.now() - since;
    state.note(Note::Wedged { cause: Cause::CreateStuck(container.clone()), waited });
    go_to(state, Step::KillAll);
    if let Phase::Ending(escalation) = state.phase_mut() {
        escalation.set_stuck_create(container, stuck);
    }
}

fn go_to(state: &mut State, step: Step) {
    let now = state.now();
    let before = match state.phase() {
        Phase::Ending(escalation) | Phase::Unkillable(escalation, _) => Some(escalation),
        _ => None,
    };
    let began = before.map_or(now, Escalation::began);
    let mut budget = step.budget();
    let mut due = now + budget;
    if step == Step::KillAll {
        // Whatever the steps before have left of their time: on a busy node dying takes longer. It is over when the
        // processes are dead, or shown to be unkillable: time alone proves nothing, but that it does not come back must
        // be said.
        budget = budget.max(began + budgets::BEFORE_RELEASE - now);
        due = now + budget + budgets::OVERLOAD + HOME;
    }
    let next = match before {
        Some(escalation) => escalation.next(step.clone(), due),
        None => Escalation::new(now, step.clone(), due),
    };
    if step != Step::Diagnose {
        state.force();
    }
    state.enter(Phase::Ending(next));
    state.take_step_within(step, budget);
}

/// A step of the escalation has come back; any that was given up changes nothing.
pub(crate) fn step_done(state: &mut State, done: StepResult) {
    let step = match state.phase() {
        Phase::Ending(escalation) => Some(escalation.step()),
        _ => None,
    };
    match (step, done) {
        (Some(Step::Diagnose), StepResult::Diagnosed) => go_to(state, Step::KillSandbox),
        (Some(Step::KillSandbox), StepResult::SandboxKilled { left, cannot_report }) => {
            sandbox_killed(state, left.is_empty(), cannot_report);
        }
        (Some(Step::KillAll), StepResult::AllKilled { left, at_ns }) if left.is_empty() => {
            all_dead(state, at_ns);
        }
        (Some(Step::KillAll), StepResult::AllKilled { left, .. }) => {
            unkillable::enter(state, left, Killing::CameBack);
        }
        (None, StepResult::AllKilled { left, at_ns }) => kill_came_back(state, left, at_ns),
        (Some(Step::Release), StepResult::Released { left }) => released(state, left, false),
        // A release that was given up for lateness comes home: only now is it known what is left.
        (None, StepResult::Released { left }) if matches!(state.phase(), Phase::Gone(_)) => {
            state.note(Note::ReleasedLate(left.clone()));
            state.enter(Phase::Gone(left));
            state.output(Output::Save);
        }
        _ => {}
    }
}

fn sandbox_killed(state: &mut State, dead: bool, cannot_report: bool) {
    if let Phase::Ending(escalation) = state.phase_mut() {
        escalation.set_killed(dead);
    }
    if dead {
        exits::tell_withheld(state);
    }
    if dead && cannot_report {
        go_to(state, Step::KillAll);
    } else {
        go_on_if_reported(state);
    }
}

/// The real shim is dead, too: what it may have said before comes too late.
fn all_dead(state: &mut State, at_ns: u64) {
    state.inflight.clear_calls();
    exits::establish(state, at_ns);
    go_to(state, Step::Release);
}

/// A KillAll that was given up has come back after all.
fn kill_came_back(state: &mut State, left: Vec<String>, at_ns: u64) {
    if !unkillable::waits_for_kill(state) {
        return;
    }
    if left.is_empty() { all_dead(state, at_ns) } else { unkillable::kill_came_back(state, left) }
}

/// The step's budget is spent.
pub(crate) fn step_is_over(state: &mut State) {
    let Phase::Ending(escalation) = state.phase() else { return };
    match escalation.step() {
        Step::Diagnose => go_to(state, Step::KillSandbox),
        Step::KillSandbox => go_to(state, Step::KillAll),
        Step::KillAll => unkillable::enter(state, kill_lost(), Killing::Lost),
        Step::Release => {
            let left = "release did not return in its time: a mount or a cgroup may still be there";
            released(state, Vec::from([left.into()]), true);
        }
        // No steps of an escalation.
        Step::KillCreate(_) | Step::ReleaseOne(_) | Step::Unblock | Step::Watch => {}
    }
}

/// In KillSandbox: all exits are there and the sandbox is dead, so the real shim has nothing more to say.
pub(crate) fn go_on_if_reported(state: &mut State) {
    let Phase::Ending(escalation) = state.phase() else { return };
    let dead = *escalation.step() == Step::KillSandbox && escalation.has_killed();
    let is_known = |process: &Process| process.has_ended() || !process.is_started();
    if dead && state.tasks.processes().all(|(_, process)| is_known(process)) {
        go_to(state, Step::KillAll);
    }
}

/// KillAll without the steps before: nothing of what they are for can be had any more.
pub(crate) fn kill_at_once(state: &mut State) {
    match state.phase() {
        Phase::Open => go_to(state, Step::KillAll),
        Phase::Ending(escalation) if matches!(escalation.step(), Step::Diagnose | Step::KillSandbox) => {
            go_to(state, Step::KillAll);
        }
        _ => {}
    }
}

/// What could not be killed has died: the escalation goes on where it stopped.
pub(crate) fn stuck_died(state: &mut State) {
    if matches!(state.phase(), Phase::Unkillable(..)) {
        go_to(state, Step::KillAll);
    }
}

/// The last step is over, or late (then what is left is `unsure`): the sandbox is gone, and everything that still waits is
/// answered.
fn released(state: &mut State, left: Vec<String>, unsure: bool) {
    let Phase::Ending(escalation) = state.phase() else { return };
    let (took, stuck_create) = (state.now() - escalation.began(), escalation.stuck_create().cloned());
    state.note(Note::Ended { took, left: left.clone(), unsure });
    state.enter(Phase::Gone(left));
    if state.is_leaving_the_node() {
        return settle::leave_with_node(state);
    }
    if let Some((container, stuck)) = stuck_create {
        answers::refuse_create(state, &ProcessId::init(&container), &stuck);
    }
    settle::all(state);
    for id in state.tasks.ids() {
        let Some(process) = state.tasks.get(&id) else { continue };
        if process.must_end() || process.life() == Life::Adding {
            // `delete` has asked for its end, or it never was: nobody else will delete it.
            settle::delete_from_record(state, &id);
            exits::remove(state, &id);
        }
    }
    state.output(Output::Save);
    if state.vacancy.no_shutdown_follows() {
        state.close_if_empty();
    }
}
