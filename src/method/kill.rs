//! Kill: SIGKILL starts a deadline that only the exit stops; any other signal is delivered once, however late,
//! unless it has become moot.

use alloc::string::ToString;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::error::GuardError;
use crate::escalation::cost::Cost;
use crate::inflight::{Call, Kind};
use crate::io::{Answer, CallId, ConnectionKind, Method, Outcome, ProcessId, RequestId, Way};
use crate::method::plain;
use crate::phase::Phase;
use crate::policy::{PENDING_SIGNAL, budgets};
use crate::signals;
use crate::state::State;
use crate::task::{Effect, SIGKILL, Signal};

/// The signals that runsc knows (runsc/cmd/kill.go, `signalMap`): none of real time, though an image may stop by one.
const KNOWN_TO_RUNSC: RangeInclusive<u32> = 1..=31;
/// Those of Linux, of which the last is SIGRTMAX.
const SIGNALS: RangeInclusive<u32> = 1..=64;
/// How long the real shim may think about a signal to what has ended: it need not ask runsc.
const ENDED_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) fn request(
    state: &mut State,
    id: RequestId,
    process: ProcessId,
    number: u32,
    all: bool,
    caller: Option<Duration>,
) {
    let Some(known) = state.tasks.get(&process) else {
        let limit = state.policy.signal_deadline;
        return plain::forward(state, id, Kind::Plain(Method::Kill), process, limit, caller);
    };
    let ended = known.has_ended();
    if !state.is_open() {
        return request_to_ended_sandbox(state, id, process, number, ended, caller);
    }
    if ended {
        let limit = ENDED_PATIENCE.min(state.policy.signal_deadline);
        return plain::forward(state, id, Kind::KillEnded, process, limit, caller);
    }
    let spared = known.deadlines.of(Effect::Exit).is_some_and(|deadline| deadline.is_spared());
    let limit = match number {
        SIGKILL if spared => state.policy.kill_deadline,
        // Its deadline answers, or the escalation that follows.
        SIGKILL => state.policy.kill_deadline + budgets::TOTAL + budgets::OVERLOAD,
        _ => state.policy.signal_deadline,
    };
    let due = state.answer_due(limit, caller);
    let kind = Kind::Kill(number);
    state.wait_for_answer(id, kind, process.clone(), Some(due));
    if number == SIGKILL {
        signals::await_exit(state, &process);
    }
    if signals::to_share(state, &process, number, all).is_some_and(|call| state.inflight.share(call, id)) {
        return;
    }
    let way = way(state, &process, number, all);
    let now = state.now();
    if let Some(known) = state.tasks.get_mut(&process) {
        known.may_change(now);
    }
    let call = state.forward(id, kind, process.clone(), PENDING_SIGNAL, way);
    signals::remember(state, &process, Signal { number, all, call });
}

/// All that `runsc kill` does for a running container is to tell the sentry. That spares two programs, but is no word of
/// the real shim's, on which the verdict depends where there is a sibling to protect.
fn way(state: &State, process: &ProcessId, number: u32, all: bool) -> Way {
    // Of a paused container runsc refuses it, and the sentry would not.
    let runs = state.tasks.get(process).is_some_and(|known| known.is_running() && !known.is_paused());
    let is_plain = number == SIGKILL && !all && process.is_init();
    if is_plain && runs && Cost::of(state, process, Effect::Exit) == Cost::Nobody {
        Way::Sentry
    } else {
        Way::Shim(ConnectionKind::Own)
    }
}

/// The sandbox is being ended, or has been.
fn request_to_ended_sandbox(
    state: &mut State,
    id: RequestId,
    process: ProcessId,
    number: u32,
    ended: bool,
    caller: Option<Duration>,
) {
    if let Phase::Unkillable(_, stuck) = state.phase() {
        return state.refuse(id, stuck.error_for(Method::Kill, &process));
    }
    if ended {
        return state.refuse(id, GuardError::Finished(process.to_string()));
    }
    if number != SIGKILL {
        return state.answer_at_once(id, Answer::Done);
    }
    let due = state.answer_due(budgets::TOTAL + budgets::OVERLOAD, caller);
    state.wait_for_answer(id, Kind::Kill(number), process, Some(due));
}

pub(crate) fn response(state: &mut State, id: CallId, call: Call, number: u32, outcome: &Outcome) {
    let gave_up = state.gave_up(&call, outcome);
    let open = state.is_open();
    let Some(process) = state.tasks.get_mut(&call.process) else {
        return state.relay(call.requests, outcome);
    };
    let Some(signal) = process.signals.returned(id) else {
        return state.relay(call.requests, outcome);
    };
    if number == SIGKILL && *outcome != Outcome::Lost && !gave_up {
        if process.is_added() && !call.process.is_init() {
            // An exec that never started has no exit to wait for. A container has none either, but gVisor has
            // destroyed it, and no exit follows: its deadline answers whoever waits for one.
            process.deadlines.stop(Effect::Exit);
        } else {
            let refused = matches!(outcome, Outcome::Failed { .. }).then_some(call.sent);
            process.deadlines.acknowledge_kill(refused);
        }
    }
    if open && gave_up && !process.has_ended() {
        // Not acknowledged yet: sent again until it is, once.
        return signals::send(state, &call.process, number, signal.all, &call.requests);
    }
    if !open && matches!(outcome, Outcome::Failed { .. }) {
        // The escalation has cut it short; it answers, too.
        return;
    }
    if number != SIGKILL && open {
        return other_signal_answered(state, call, signal, outcome);
    }
    state.relay(call.requests, outcome);
    signals::forgive_refused(state, &call.process);
}

/// An error is passed on, unless this signal had nothing else for longer than a signal may take: to CRI, which stops a
/// container by it, it would mean forever that no SIGKILL may follow. Then it is pending, and sent again after a while if
/// runsc can ever take it.
fn other_signal_answered(state: &mut State, call: Call, signal: Signal, outcome: &Outcome) {
    let (now, limit) = (state.now(), state.policy.signal_deadline);
    let known = state.tasks.get_mut(&call.process).filter(|process| !process.has_ended());
    let Some(process) = known else { return state.relay(call.requests, outcome) };
    if *outcome != (Outcome::Failed { not_found: false }) {
        process.signals.succeeds(signal.number);
        return state.relay(call.requests, outcome);
    }
    if !SIGNALS.contains(&signal.number) {
        return state.relay(call.requests, outcome);
    }
    let since = process.signals.fails(signal.number, call.sent);
    let resent = call.requests.is_empty();
    if now < since + limit && !resent {
        return state.relay(call.requests, outcome);
    }
    if KNOWN_TO_RUNSC.contains(&signal.number) {
        process.signals.resend_at(signal, now + PENDING_SIGNAL);
    }
    state.reply_all(call.requests, &Answer::Done);
}
