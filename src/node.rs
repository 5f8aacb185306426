//! A node that goes down is not a wedge (rule 10): everything is killed at once, nobody is told of a hang, and the
//! guard is gone in time, whatever lives on.
//!
//! Whether the node goes down is asked when somebody was told by SIGTERM: the guard itself, or the real shim, which
//! then leaves in peace. Both may come before the sign is there, when all processes are told in one moment.

use crate::escalation::steps;
use crate::io::{Cause, Note, Output};
use crate::method::shutdown;
use crate::phase::Phase;
use crate::policy::{LEAVES_WITHIN, SIGN_WITHIN};
use crate::settle;
use crate::state::State;
use crate::timers::Timer;

/// The node goes down.
pub(crate) fn terminate(state: &mut State) {
    if state.is_leaving_the_node() || matches!(state.phase(), Phase::Closed) {
        return;
    }
    state.timers.set(Timer::NodeShutdown, Some(state.now() + LEAVES_WITHIN));
    if !matches!(state.phase(), Phase::Closing(_)) {
        state.output(Output::StopListening);
    }
    state.note(Note::NodeGoesDown);
    match state.phase() {
        // It is dead, or nothing will kill it.
        Phase::Gone(_) | Phase::Unkillable(..) => settle::leave_with_node(state),
        Phase::Open | Phase::Ending(_) | Phase::Closing(_) | Phase::Closed => kill_at_once(state),
    }
}

/// The real shim has left as one does that was sent SIGTERM. If that is a node that goes down, it will show.
pub(crate) fn real_shim_left(state: &mut State) {
    if state.is_open() && !state.is_leaving_the_node() {
        state.timers.set(Timer::RealShimLeft, Some(state.now() + SIGN_WITHIN));
    } else {
        real_shim_exited(state);
    }
}

/// The real shim is gone.
pub(crate) fn real_shim_exited(state: &mut State) {
    if state.is_open() {
        state.note(Note::RealShimDied);
        state.note(Note::Wedged { cause: Cause::RealShimDied, waited: Default::default() });
    }
    kill_at_once(state);
}

fn kill_at_once(state: &mut State) {
    steps::kill_at_once(state);
    shutdown::real_shim_exited(state);
}
