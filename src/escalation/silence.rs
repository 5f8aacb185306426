//! A sandbox that stops answering although nobody wants its end.
//!
//! The watchdog asks nothing by itself, so it costs nothing while all is well. Its first sign is something of
//! containerd's that the real shim has not answered in its time (State, Stats, Pids, Start, Exec and their kin), or a
//! State that found the sentry stopped. From then `watchdog_after` runs, until something is answered that takes the
//! sentry. Only when it has almost run out is the sentry asked past the real shim (`probe`): one that answers, or is only
//! slow, is left alone, be it paused or checkpointed on purpose, starved, or hidden behind a real shim that a slow Create
//! keeps busy. One that is silent is reported once, or ended.

use crate::escalation::{steps, verdict};
use crate::inflight::{Call, Kind};
use crate::io::{Cause, Note, Outcome, ProbeResult, ProcessId, ResponseInfo, Status, Step};
use crate::policy::{VERDICT, Watchdog};
use crate::state::State;
use crate::task::{Process, Query};
use crate::time::Time;

/// The query of this kind about a process or its container.
pub(crate) fn query<'a>(state: &'a State, kind: Kind, id: &ProcessId) -> Option<&'a Query> {
    match kind {
        Kind::State => state.tasks.get(id).map(|process| &process.state),
        Kind::Pids => state.tasks.container(&id.container).map(|container| &container.pids),
        _ => state.tasks.container(&id.container).map(|container| &container.stats),
    }
}

/// An answer is due. A caller's own short timeout says nothing about the real shim.
pub(crate) fn suspect_if_late(state: &mut State, kind: Kind, process: &ProcessId, since: Time) {
    let (asked, limit) = match kind {
        Kind::State | Kind::Pids | Kind::Stats => {
            (query(state, kind, process).map(Query::sent), state.query_limit(kind))
        }
        Kind::Start if process.is_init() => (Some(since), state.policy.start_deadline),
        Kind::Start | Kind::Exec | Kind::Plain(_) => (Some(since), state.policy.exec_deadline),
        Kind::Create
        | Kind::Wait
        | Kind::Kill(_)
        | Kind::KillEnded
        | Kind::Delete
        | Kind::Shutdown
        | Kind::End
        | Kind::Greeting => return,
    };
    if let Some(asked) = asked.filter(|asked| state.now() >= *asked + limit) {
        state.watchdog.suspect(asked);
    }
}

/// A query about what runs is answered with errors.
pub(crate) fn suspect_failing(state: &mut State, process: &ProcessId, since: Time) {
    let runs = |process: &Process| process.is_started() && !process.has_ended();
    if process.is_init() && state.tasks.get(process).is_some_and(runs) {
        state.watchdog.suspect(since);
    }
}

/// The real shim has answered: where that took the sentry, it is heard. (Of what has stopped, and of an exec, the
/// real shim knows the state without running runsc.)
pub(crate) fn listen(state: &mut State, call: &Call, outcome: &Outcome) {
    let heard = match (call.kind, outcome) {
        (Kind::State, Outcome::Done(ResponseInfo::State { status, .. })) => {
            call.process.is_init() && *status != Status::Stopped
        }
        (Kind::Pids | Kind::Stats | Kind::Start, Outcome::Done(_)) => true,
        _ => false,
    };
    if heard {
        hear(state);
    }
}

fn hear(state: &mut State) {
    let now = state.now();
    if let Some(silent_since) = state.watchdog.hear(now) {
        state.note(Note::AnswersAgain(now - silent_since));
    }
}

/// When the silence has lasted too long, and when the next question about it may be asked: so early that the verdict
/// is in by then. While one is out its answer comes first.
pub(crate) fn due(state: &State) -> Option<Time> {
    let since = state.watchdog.suspects_since()?;
    let root = &state.tasks.container(&state.sandbox)?.init;
    if !root.is_started() || root.has_ended() {
        return None;
    }
    let from = asked_from(state, since);
    match state.probe.heard_since(from) {
        Some((ProbeResult::Nothing, _)) => Some(since + state.policy.watchdog_after),
        Some((ProbeResult::Answers | ProbeResult::Paused | ProbeResult::Slow, _)) => Some(from),
        None => state.probe.question_due(from),
    }
}

fn asked_from(state: &State, since: Time) -> Time {
    since + state.policy.watchdog_after.saturating_sub(VERDICT)
}

/// Asks, reports or ends what is silent, where that is due.
pub(crate) fn judge(state: &mut State) {
    let Some(since) = state.watchdog.suspects_since().filter(|_| state.is_open()) else { return };
    if due(state).is_none_or(|due| due > state.now()) {
        return;
    }
    match state.probe.heard_since(asked_from(state, since)) {
        None => verdict::ask_sentry(state),
        Some((ProbeResult::Answers | ProbeResult::Slow | ProbeResult::Paused, _)) => hear(state),
        Some((ProbeResult::Nothing, _)) if state.policy.watchdog == Watchdog::Kill => {
            steps::begin(state, Cause::Silent, since);
        }
        Some((ProbeResult::Nothing, _)) => {
            state.watchdog.report(since);
            state.note(Note::Silent(state.now() - since));
            state.take_step(Step::Watch);
        }
    }
}
