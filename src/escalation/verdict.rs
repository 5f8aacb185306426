//! What is heard of sentry and real shim while a deadline runs whose judgement needs that, and when to ask them.

use crate::escalation::cost::{Cost, is_busy_with};
use crate::inflight::{Call, Kind};
use crate::io::{CallId, Outcome, Output, OwnCall, ProbeResult, ProcessId};
use crate::policy::{PACE, QUESTION, VERDICT};
use crate::state::State;
use crate::task::{Deadline, Effect};
use crate::time::Time;

/// What the questions say to one deadline. What was known before they were asked for it is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Out,
    /// The sentry answers, or is slow.
    Answers,
    /// It is silent.
    Silent,
}

/// In a paused sandbox a SIGKILL stays without effect (gVisor pkg/sentry/kernel/task_exit.go): a container for
/// which that is waited for has no use of its answers. A container that lives on has.
pub(crate) fn verdict(state: &State, id: &ProcessId, effect: Effect, deadline: &Deadline) -> Verdict {
    match state.probe.heard_since(asked_from(state, effect, deadline)) {
        Some((ProbeResult::Answers | ProbeResult::Slow, _)) => Verdict::Answers,
        Some((ProbeResult::Paused, _)) if Cost::of(state, id, effect) == Cost::Container => Verdict::Answers,
        Some((ProbeResult::Paused | ProbeResult::Nothing, _)) => Verdict::Silent,
        None => Verdict::Out,
    }
}

/// From when on the sentry is asked for this deadline: so early that the verdict is in by then, so late that
/// it is fresh then. Once spared, when somebody asked again.
fn asked_from(state: &State, effect: Effect, deadline: &Deadline) -> Time {
    let first = || deadline.since() + state.limit(effect).saturating_sub(VERDICT);
    deadline.asked_again().unwrap_or_else(first)
}

/// When the next question is to be asked for this deadline.
pub(crate) fn question_due(
    state: &State,
    id: &ProcessId,
    effect: Effect,
    deadline: &Deadline,
) -> Option<Time> {
    let closed = deadline.is_spared() && deadline.asked_again().is_none();
    if closed || !Cost::of(state, id, effect).needs_verdict() || is_busy_with(state, id) {
        return None;
    }
    let from = asked_from(state, effect, deadline);
    match state.probe.heard_since(from) {
        Some((ProbeResult::Slow, at)) if !deadline.is_spared() => {
            let again = at + PACE;
            (again < deadline.since() + state.limit(effect)).then_some(again)
        }
        Some(_) => None,
        None => state.probe.question_due(from),
    }
}

/// Asks the sentry, and greets the real shim, where that is due.
pub(crate) fn ask_if_due(state: &mut State, id: &ProcessId, effect: Effect, deadline: &Deadline) {
    if question_due(state, id, effect, deadline).is_some_and(|due| due <= state.now()) {
        ask_sentry(state);
    }
    if greeting_due(state, id, effect, deadline).is_some_and(|due| due <= state.now()) {
        greet(state, &id.container);
    }
}

/// Asks the sentry the next question.
pub(crate) fn ask_sentry(state: &mut State) {
    state.probe.ask(state.now());
    state.arm_probe_lost();
    state.output(Output::Probe(QUESTION));
}

/// A SIGKILL that is not acknowledged may wait behind a lock of the real shim's. Whether that answers anything at
/// all shows a request that takes none.
fn greet(state: &mut State, container: &str) {
    let own = OwnCall::Greet(container.into());
    let call = state.call(Kind::Greeting, ProcessId::init(container), own, QUESTION);
    let now = state.now();
    if let Some(container) = state.tasks.container_mut(container) {
        container.is_greeted(call, now);
    }
}

/// When the real shim is to be greeted: with the sentry, and again where nothing was heard since.
pub(crate) fn greeting_due(
    state: &State,
    id: &ProcessId,
    effect: Effect,
    deadline: &Deadline,
) -> Option<Time> {
    let container = state.tasks.container(&id.container)?;
    let needed = awaits_acknowledgement(effect, deadline) && Cost::of(state, id, effect).needs_verdict();
    let from = asked_from(state, effect, deadline);
    (needed && container.greeted().is_none() && container.spoke() < from).then_some(from)
}

/// When the real shim will have answered nothing at all about a container for as long as a SIGKILL may take.
pub(crate) fn real_shim_silent_at(
    state: &State,
    id: &ProcessId,
    effect: Effect,
    deadline: &Deadline,
) -> Option<Time> {
    let container = state.tasks.container(&id.container)?;
    let greeted = container.greeted().filter(|_| awaits_acknowledgement(effect, deadline))?;
    let limit = state.policy.kill_deadline;
    Some((deadline.since().max(container.spoke()) + limit).max(greeted + QUESTION))
}

fn awaits_acknowledgement(effect: Effect, deadline: &Deadline) -> bool {
    effect == Effect::Exit && !deadline.is_acknowledged()
}

/// The real shim has answered something. A lost connection is no answer.
pub(crate) fn real_shim_speaks(state: &mut State, id: CallId, call: &Call, outcome: &Outcome) {
    let now = state.now();
    if *outcome != Outcome::Lost
        && let Some(container) = state.tasks.container_mut(&call.process.container)
    {
        container.speaks(id, now);
    }
}
