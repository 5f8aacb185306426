//! What the guard still has in hand, to show that nothing grows and nothing is forgotten.

use std::collections::BTreeSet;

use crate::guard::Guard;
use crate::io::{CallId, ProcessId};
use crate::phase::{Phase, Stuck};
use crate::task::{Container, Life};

/// Its open ends, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenEnds {
    pub(crate) waiting: usize,
    pub(crate) calls: usize,
    pub(crate) unpublished: usize,
    pub(crate) processes: usize,
    pub(crate) requests_in_calls: usize,
}

impl Guard {
    pub(crate) fn open_ends(&self) -> OpenEnds {
        let state = self.state();
        OpenEnds {
            waiting: state.inflight.requests().count(),
            calls: state.inflight.calls().count(),
            unpublished: state.exits.unpublished(),
            processes: state.tasks.processes().count(),
            requests_in_calls: state.inflight.calls().map(|(_, call)| call.requests.len()).sum(),
        }
    }

    /// Whether a step is out whose end is waited for.
    pub(crate) fn has_a_step_out(&self) -> bool {
        let state = self.state();
        let one =
            |container: &Container| container.is_being_torn_down() || container.init.is_being_released();
        let asks = state.probe.lost_at().is_some();
        state.is_open() && (asks || state.tasks.containers().any(|(_, container)| one(container)))
            || self.stuck().is_some_and(Stuck::waits_for_kill)
            || matches!(state.phase(), Phase::Ending(_))
            || matches!(state.phase(), Phase::Closing(shutdown) if shutdown.stuck().is_none())
    }

    /// Whether a process is in the record that a call could have started.
    pub(crate) fn knows(&self, process: &ProcessId, call: Option<CallId>) -> bool {
        let Some(process) = self.state().tasks.get(process) else { return false };
        let there = process.life() != Life::Adding && process.publisher().is_none();
        there && call.is_none_or(|call| !process.is_younger_than(call) && !process.is_born_with(call))
    }

    /// Whose exit has been established.
    pub(crate) fn known_exits(&self) -> BTreeSet<ProcessId> {
        let state = self.state();
        let ended = state.tasks.processes().filter(|(_, process)| process.has_ended()).map(|(id, _)| id);
        ended.chain(state.exits.deleted().map(ProcessId::init)).collect()
    }

    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        self.state().stuck()
    }
}
