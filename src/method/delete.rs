//! Delete: of what has ended it is done at its deadline, whatever the real shim answers; of what runs it is refused.

use core::time::Duration;

use crate::escalation::cost;
use crate::exit::Exit;
use crate::exits;
use crate::inflight::{Call, Kind};
use crate::io::{
    Answer, ConnectionKind, Method, Outcome, Output, OwnCall, ProcessId, RequestId, ResponseInfo, Way,
};
use crate::method::plain;
use crate::phase::Phase;
use crate::policy::budgets;
use crate::settle;
use crate::signals;
use crate::state::{State, WIRE_SLACK};
use crate::task::{Deadline, Effect, Life, Process};

pub(crate) fn request(state: &mut State, id: RequestId, process: ProcessId, caller: Option<Duration>) {
    let limit = state.policy.delete_deadline;
    let Some(known) = state.tasks.get(&process) else {
        return plain::forward(state, id, Kind::Plain(Method::Delete), process, limit, caller);
    };
    if let Some(exit) = known.unheard_exit() {
        exits::forget(state, &process, exit);
        state.output(Output::Save);
        return state.answer_at_once(id, Answer::Deleted(exit));
    }
    let spared = known.deadlines.of(Effect::Deletion).is_some_and(|deadline| deadline.is_spared());
    let longest = if spared { limit } else { limit + budgets::TOTAL + budgets::OVERLOAD };
    let due = Some(state.answer_due(longest, caller));
    match state.phase() {
        Phase::Open => {}
        Phase::Ending(_) => return state.wait_for_answer(id, Kind::Delete, process, due),
        Phase::Unkillable(_, stuck) => {
            return state.refuse(id, stuck.error_for(Method::Delete, &process));
        }
        Phase::Gone(_) | Phase::Closing(_) | Phase::Closed => {
            let answer = settle::delete_from_record(state, &process);
            return state.answer_at_once(id, answer);
        }
    }
    state.wait_for_answer(id, Kind::Delete, process.clone(), due);
    let now = state.now();
    let Some(known) = state.tasks.get_mut(&process) else { return };
    known.deadlines.ask_for(Effect::Deletion, now);
    let (shared, releasing) = (known.delete_call(), known.is_being_released());
    signals::drop_pending(state, &process);
    if shared.is_some_and(|call| state.inflight.share(call, id)) || releasing {
        return;
    }
    let call = state.forward(
        id,
        Kind::Delete,
        process.clone(),
        limit + WIRE_SLACK,
        Way::Shim(ConnectionKind::Control),
    );
    if let Some(known) = state.tasks.get_mut(&process) {
        known.set_delete_call(Some(call));
    }
}

/// Deletes what has ended or never ran on behalf of `delete`.
pub(crate) fn delete_for_end(state: &mut State, process: &ProcessId) {
    let now = state.now();
    let Some(known) = state.tasks.get_mut(process) else { return };
    if known.delete_call().is_some() || known.is_being_released() || known.life() == Life::Adding {
        return;
    }
    known.deadlines.start(Effect::Deletion, Deadline::starting(now));
    let own = OwnCall::Delete(process.clone());
    let timeout = state.policy.delete_deadline + WIRE_SLACK;
    let call = state.call(Kind::Delete, process.clone(), own, timeout);
    if let Some(known) = state.tasks.get_mut(process) {
        known.set_delete_call(Some(call));
    }
}

/// What an answer means.
enum Meaning {
    /// The process is deleted, and ended so.
    Deleted(Exit),
    /// It never ran, and the real shim does not know it any more.
    NeverWas,
    /// Its deadline decides; or the escalation has cut it short, and answers, too.
    Nothing,
    /// It was refused.
    Refused,
}

pub(crate) fn response(state: &mut State, call: Call, outcome: &Outcome) {
    // The deadline of the root passes before its call gives up, unless the guard itself ran late.
    let gave_up = state.gave_up(&call, outcome) && !state.is_root(&call.process);
    let had_ended = cost::counts_as_ended(state, &call.process);
    let childless = state.tasks.execs_of(&call.process).is_empty();
    let open = state.is_open();
    let Some(process) = state.tasks.get_mut(&call.process) else {
        if matches!(outcome, Outcome::Done(_)) {
            state.exits.forget_released(&call.process);
        }
        return state.relay(call.requests, outcome);
    };
    process.set_delete_call(None);
    // Nor does an error about what runs say anything but that: it cannot be deleted, whenever the answer was read.
    let gave_up = gave_up && !process.is_running();
    match meaning(process, outcome, gave_up || !open, childless) {
        Meaning::Nothing => {}
        Meaning::Deleted(exit) => deleted(state, call, exit, outcome),
        Meaning::NeverWas => {
            state.relay(call.requests, outcome);
            exits::never_came_to_be(state, &call.process);
        }
        Meaning::Refused => {
            // What ran when it was asked for cannot be deleted, and nothing is under way. What had ended is, at its
            // deadline; so is what `delete` has asked for: nobody asks again for that.
            let had_ended = had_ended && !process.was_running_at(call.sent);
            if !had_ended && !process.must_end() {
                process.deadlines.stop(Effect::Deletion);
            }
            state.relay(call.requests, outcome);
        }
    }
}

fn meaning(process: &Process, outcome: &Outcome, cut_short: bool, childless: bool) -> Meaning {
    let known = process.exit();
    match *outcome {
        Outcome::Done(ResponseInfo::Exit(exit)) => Meaning::Deleted(known.unwrap_or(exit)),
        Outcome::Lost => Meaning::Nothing,
        Outcome::Failed { .. } if cut_short => Meaning::Nothing,
        Outcome::Failed { not_found: true } => match known {
            Some(exit) => Meaning::Deleted(exit),
            None if process.is_added() && childless => Meaning::NeverWas,
            None => Meaning::Refused,
        },
        Outcome::Failed { not_found: false } | Outcome::Done(_) => Meaning::Refused,
    }
}

/// The real shim has deleted a process.
fn deleted(state: &mut State, call: Call, exit: Exit, outcome: &Outcome) {
    let (open, forced) = (state.is_open(), state.is_forced());
    let Some(process) = state.tasks.get_mut(&call.process) else { return };
    if open && process.is_being_released() {
        // The release has made this possible. It answers, and tells what is left.
        return exits::ended(state, &call.process, exit);
    }
    if open && call.process.is_init() && call.requests.is_empty() && !process.must_end() {
        // Who asked has left, or was told that it takes longer: the exit is for the next who asks. Without it
        // containerd would keep the shim of a task that its clients no longer find.
        process.set_deleted_unheard();
        return exits::ended(state, &call.process, exit);
    }
    exits::forget(state, &call.process, exit);
    if forced {
        state.reply_all(call.requests, &Answer::Deleted(exit));
    } else {
        state.relay(call.requests, outcome);
    }
    state.output(Output::Save);
}
