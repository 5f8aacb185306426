//! When a Kill or a Delete without an effect is to be judged.
//!
//! The rules for one container of a pod: what is to be protected is a living sibling that nobody has asked to end
//! (`cost`). Where there is one, a SIGKILL costs the sandbox only if the sentry is silent (`probe`) or the real shim
//! answers nothing at all (`verdict`), otherwise at `hard_limit`; a Delete of what has ended costs nobody anything
//! (`release`). Time that a request spends behind what holds the real shim's locks does not count (`locks`).

use crate::escalation::cost::{Cost, is_being_created, is_busy_with};
use crate::escalation::locks::held_since;
use crate::escalation::verdict::{Verdict, real_shim_silent_at, verdict};
use crate::io::ProcessId;
use crate::state::State;
use crate::task::{Deadline, Effect};
use crate::time::Time;

/// When a deadline ends its sandbox even if everything speaks for sparing it; or, of what has ended, settles it.
pub(crate) fn latest_end(state: &State, id: &ProcessId, effect: Effect, deadline: &Deadline) -> Option<Time> {
    let (since, limit) = (deadline.since(), state.limit(effect));
    match Cost::of(state, id, effect) {
        Cost::Nobody | Cost::Itself => Some(since + limit),
        Cost::Container => None,
        Cost::Sibling => {
            let limit = state.policy.hard_limit?.max(limit);
            let excused = held_since(state, id, deadline)
                .map(|(began, over)| over + limit.saturating_sub(began - since));
            Some(excused.unwrap_or(since + limit))
        }
    }
}

/// When a deadline has to be judged; `None` while it is excused, waits for something else, or has no end.
/// Whatever turns `None` into a time is an input, or a deadline of its own.
pub(crate) fn judged_at(state: &State, id: &ProcessId, effect: Effect, deadline: &Deadline) -> Option<Time> {
    if is_busy_with(state, id) {
        return None;
    }
    let first = deadline.since() + state.limit(effect);
    if is_being_created(state, id) {
        return Some(first);
    }
    if !Cost::of(state, id, effect).needs_verdict() {
        let others = last_unspared_kill(state).filter(|_| deadline.is_spared());
        return Some(others.map_or(first, |due| due.max(first)));
    }
    match verdict(state, id, effect, deadline) {
        Verdict::Silent => Some(first),
        Verdict::Answers if !deadline.is_spared() => Some(first),
        // Until the verdict is in, or the limit that needs none has come.
        Verdict::Out | Verdict::Answers => {
            let silent = real_shim_silent_at(state, id, effect, deadline);
            silent.into_iter().chain(hard_end(state, id, effect, deadline)).min()
        }
    }
}

/// When a living sibling pays in spite of everything; none while that is excused.
pub(crate) fn hard_end(state: &State, id: &ProcessId, effect: Effect, deadline: &Deadline) -> Option<Time> {
    latest_end(state, id, effect, deadline).filter(|_| held_since(state, id, deadline).is_none())
}

/// When the SIGKILLs that came last have had their time: those who were spared so far need not be ended sooner.
fn last_unspared_kill(state: &State) -> Option<Time> {
    let deadlines = state.tasks.processes().filter_map(|(_, process)| process.deadlines.of(Effect::Exit));
    let unspared = deadlines.filter(|deadline| !deadline.is_spared());
    unspared.map(|deadline| deadline.since() + state.policy.kill_deadline).max()
}
