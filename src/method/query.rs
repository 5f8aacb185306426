//! State, Pids and Stats: one call in flight for all who ask, and none at all for a while after one was late. Days of
//! polling a wedged sandbox must cost neither the callers time nor the real shim memory, and a containerd that comes
//! back asks all of them before it serves anybody: a sandbox that is silent costs it one query, not one for each of its
//! containers, and one that /proc shows to be stopped none. Connect is always answered from the record.

use core::time::Duration;

use crate::answers;
use crate::escalation::silence;
use crate::inflight::{Call, Kind};
use crate::io::{
    Answer, CallId, ConnectionKind, Outcome, ProcessId, RequestId, ResponseInfo, Sentry, Status, Way,
};
use crate::method::plain;
use crate::phase::Phase;
use crate::state::{State, WIRE_SLACK};
use crate::task::Query;
use crate::time::Time;

/// How long callers wait for a query whose last answer was late.
const SUSPECT_PATIENCE: Duration = Duration::from_millis(20);

pub(crate) fn state(
    state: &mut State,
    id: RequestId,
    process: ProcessId,
    sentry: Sentry,
    caller: Option<Duration>,
) {
    // While something cannot be killed, nobody is told that it has ended.
    let dead = sentry == Sentry::Dead && !matches!(state.phase(), Phase::Unkillable(..));
    let (now, open) = (state.now(), state.is_open());
    if sentry == Sentry::Stopped {
        state.watchdog.suspect(now);
    }
    let settled = state.tasks.get_mut(&process).is_some_and(|known| {
        known.set_sentry_is_dead(dead);
        // Of an exec the real shim knows the state without a runsc.
        let certain = open && process.is_init() && known.is_certain(now);
        known.has_ended() || certain
    });
    if (settled || sentry == Sentry::Stopped)
        && let Some(answer) = answers::state_of(state, &process)
    {
        return state.answer_at_once(id, answer);
    }
    request(state, id, Kind::State, process, caller);
}

pub(crate) fn pids(
    state: &mut State,
    id: RequestId,
    container: &str,
    sentry: Sentry,
    caller: Option<Duration>,
) {
    let process = ProcessId::init(container);
    if sentry == Sentry::Stopped {
        state.watchdog.suspect(state.now());
    }
    // Where the sentry is dead the exit is on its way: until it is known, containerd must not take the container
    // for one that nobody needs to hear of any more.
    let runs = state.tasks.get(&process).is_some_and(|known| !known.has_ended());
    if ((runs && sentry == Sentry::Dead) || sentry == Sentry::Stopped)
        && let Some(answer) = answers::pids_of(state, container)
    {
        return state.answer_at_once(id, answer);
    }
    request(state, id, Kind::Pids, process, caller);
}

pub(crate) fn connect(state: &mut State, id: RequestId, container: &str) {
    let pid = state.tasks.container(container).map_or(0, |container| container.init.pid());
    state.answer_at_once(id, Answer::Connect(pid));
}

/// A query that callers share; answered from the record where the real shim is late.
pub(crate) fn request(
    state: &mut State,
    id: RequestId,
    kind: Kind,
    process: ProcessId,
    caller: Option<Duration>,
) {
    let (limit, now) = (state.query_limit(kind), state.now());
    let Some(query) = silence::query(state, kind, &process) else {
        return plain::forward(state, id, kind, process, limit, caller);
    };
    let (call, sent) = (query.call(), query.sent());
    let (late, rests) = (query.is_late(now, limit), query.rests(now, limit));
    if late {
        state.watchdog.suspect(sent);
    }
    if !state.is_open() || rests {
        let answer = answers::late(state, kind, &process, sent);
        return state.answer_at_once(id, answer);
    }
    let impatient = late || kind != Kind::Stats && is_silent(state);
    let due = state.answer_due(if impatient { SUSPECT_PATIENCE.min(limit) } else { limit }, caller);
    state.wait_for_answer(id, kind, process.clone(), Some(due));
    // What was sent before a Pause says nothing about after.
    let changed = state.tasks.container(&process.container).map(|container| container.init.changed());
    let is_current = changed.is_none_or(|changed| changed < sent);
    if call.is_some_and(|call| is_current && state.inflight.share(call, id)) {
        return;
    }
    let call =
        state.forward(id, kind, process.clone(), limit + WIRE_SLACK, Way::Shim(ConnectionKind::Control));
    if let Some(query) = query_mut(state, kind, &process) {
        query.is_sent(call, now);
    }
}

fn query_mut<'a>(state: &'a mut State, kind: Kind, id: &ProcessId) -> Option<&'a mut Query> {
    match kind {
        Kind::State => state.tasks.get_mut(id).map(|process| &mut process.state),
        Kind::Pids => state.tasks.container_mut(&id.container).map(|container| &mut container.pids),
        _ => state.tasks.container_mut(&id.container).map(|container| &mut container.stats),
    }
}

/// Whether a query that was sent after the sandbox last answered is overdue: other callers need not wait as long again.
/// (A container of which the real shim holds the lock does not shorten the wait of queries that are answered.)
fn is_silent(state: &State) -> bool {
    let Some(answered) = state.watchdog.answered_at() else { return true };
    let queries = state.tasks.containers().flat_map(|(_, container)| {
        let limit = state.policy.query_deadline;
        [
            (&container.init.state, limit),
            (&container.pids, limit),
            (&container.stats, state.policy.stats_deadline),
        ]
    });
    let unanswered = |(query, limit): (&Query, Duration)| {
        query.sent() >= answered && query.is_unanswered(state.now(), limit)
    };
    queries.into_iter().any(unanswered)
}

pub(crate) fn response(state: &mut State, id: CallId, call: Call, outcome: &Outcome) {
    let missed = state.gave_up(&call, outcome) || *outcome == Outcome::Lost;
    if let Some(query) = query_mut(state, call.kind, &call.process) {
        query.returned(id, call.sent, missed, *outcome == Outcome::Failed { not_found: false });
    }
    if let Outcome::Done(ResponseInfo::State { status, pid }) = *outcome {
        learn_state(state, &call.process, status, pid, call.sent);
    }
    let failing = silence::query(state, call.kind, &call.process).and_then(Query::failing_since);
    if let Some(since) = failing.filter(|_| state.is_open()) {
        silence::suspect_failing(state, &call.process, since);
    }
    // An error that the escalation caused says nothing about the process.
    let caused = !state.is_open() && matches!(outcome, Outcome::Failed { .. });
    // Nor is one an answer that comes each time: to CRI, State's would mean forever that no Kill may follow.
    let limit = state.query_limit(call.kind);
    let in_vain = call.kind != Kind::Stats && failing.is_some_and(|since| state.now() >= since + limit);
    if !(missed || caused || in_vain) {
        return state.relay(call.requests, outcome);
    }
    for request in call.requests {
        let since = state.inflight.request(request).map_or(state.now(), |request| request.since);
        let answer = answers::late(state, call.kind, &call.process, since);
        state.reply(request, answer);
    }
}

fn learn_state(state: &mut State, id: &ProcessId, status: Status, pid: u32, asked: Time) {
    let (root, now) = (state.is_root(id), state.now());
    let Some(process) = state.tasks.get_mut(id) else { return };
    if pid != 0 && process.pid() == 0 {
        process.set_pid(pid);
    }
    match status {
        Status::Running => process.runs(asked, now),
        Status::Paused | Status::Pausing => process.pauses(status, now),
        Status::Stopped if root && !process.has_ended() && process.is_started() => {
            process.sentry_lingers(now);
        }
        Status::Stopped | Status::Created | Status::Unknown => {}
    }
}
