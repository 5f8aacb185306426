//! Signals on their way to a process: each is delivered once, however late, unless it has become moot.

use crate::inflight::Kind;
use crate::io::{Answer, CallId, OwnCall, ProcessId, RequestId};
use crate::policy::PENDING_SIGNAL;
use crate::state::State;
use crate::task::{Effect, SIGKILL, Signal};

/// SIGKILL's deadline, from the first one on; the signals before it are moot.
pub(crate) fn await_exit(state: &mut State, process: &ProcessId) {
    let now = state.now();
    if let Some(process) = state.tasks.get_mut(process) {
        process.deadlines.ask_for(Effect::Exit, now);
    }
    drop_pending(state, process);
}

/// The call of the same signal on its way already that another request can share.
pub(crate) fn to_share(state: &State, process: &ProcessId, number: u32, all: bool) -> Option<CallId> {
    let pending = |call| state.inflight.is_unawaited(call);
    let signals = &state.tasks.get(process)?.signals;
    signals.to_share(number, all, pending).filter(|call| state.inflight.is_out(*call))
}

/// A signal was sent.
pub(crate) fn remember(state: &mut State, process: &ProcessId, signal: Signal) {
    if let Some(process) = state.tasks.get_mut(process) {
        process.signals.is_sent(signal);
    }
}

/// Sends a signal of the guard's own, or again.
pub(crate) fn send(state: &mut State, process: &ProcessId, number: u32, all: bool, requests: &[RequestId]) {
    let own = OwnCall::Kill { process: process.clone(), signal: number, all };
    let call = state.call(Kind::Kill(number), process.clone(), own, PENDING_SIGNAL);
    state.inflight.hand_over(call, requests);
    remember(state, process, Signal { number, all, call });
}

/// SIGKILL to a container on behalf of `delete`.
pub(crate) fn kill_for_end(state: &mut State, process: &ProcessId) {
    await_exit(state, process);
    let all = true;
    if to_share(state, process, SIGKILL, all).is_none() {
        send(state, process, SIGKILL, all, &[]);
    }
}

/// A process has started.
pub(crate) fn has_started(state: &mut State, process: &ProcessId) {
    let now = state.now();
    let Some(known) = state.tasks.get_mut(process) else { return };
    known.starts(now);
    if known.must_end() {
        state.pursue_later(process.clone());
    }
    forgive_refused(state, process);
}

/// A SIGKILL that was refused before the start says nothing of what runs since. (Before 2026-08 gVisor refuses it
/// for a container that was created and not started.) What `delete` wants it is sent again for.
pub(crate) fn forgive_refused(state: &mut State, process: &ProcessId) {
    let open = state.is_open();
    let Some(known) = state.tasks.get_mut(process).filter(|known| known.was_refused_before_start()) else {
        return;
    };
    known.deadlines.stop(Effect::Exit);
    if known.must_end() && open {
        kill_for_end(state, process);
    }
}

/// Sends what was answered with errors once more, where that is due.
pub(crate) fn resend(state: &mut State) {
    let now = state.now();
    for id in state.tasks.ids() {
        let due = state.tasks.get_mut(&id).map(|process| process.signals.take_due(now));
        for Signal { number, all, .. } in due.into_iter().flatten() {
            send(state, &id, number, all, &[]);
        }
    }
}

/// Gives up the signals that are pending: an exit, a SIGKILL or a Delete has made them moot.
pub(crate) fn drop_pending(state: &mut State, process: &ProcessId) {
    let Some(known) = state.tasks.get_mut(process) else { return };
    let inflight = &state.inflight;
    let moot = |signal: &Signal| signal.number != SIGKILL && inflight.is_unawaited(signal.call);
    for call in known.signals.drop_where(moot) {
        state.cancel(call);
    }
}

/// Gives up every signal on its way to a process that is deleted; who waits for one has what it wanted.
pub(crate) fn drop_all(state: &mut State, process: &ProcessId) {
    let Some(known) = state.tasks.get_mut(process) else { return };
    let calls = known.signals.drop_where(|_| true);
    for call in &calls {
        state.reply_all(state.inflight.requests_of(*call), &Answer::Done);
    }
    for call in calls {
        state.cancel(call);
    }
}
