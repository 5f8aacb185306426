//! What ending the sandbox for one process would cost. To be protected is a living container that nobody has asked to
//! end; where there is none, there is nothing to wait for.

use crate::inflight::{Call, Kind};
use crate::io::ProcessId;
use crate::state::State;
use crate::task::{Container, Effect, Life};

/// Who would pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nobody who was not asked to end: the deadline holds exactly.
    Nobody,
    /// Nobody at all: the process has ended or never ran, and is settled alone at the deadline.
    Itself,
    /// Another container that lives: if the sentry is silent, or at `hard_limit`.
    Sibling,
    /// The container in which the process was exec'd: only if the sentry is silent.
    Container,
}

impl Cost {
    /// Whether the sentry has to be asked first.
    pub(crate) const fn needs_verdict(self) -> bool {
        matches!(self, Self::Sibling | Self::Container)
    }

    /// Who would pay if this effect on `id` did not come.
    pub(crate) fn of(state: &State, id: &ProcessId, effect: Effect) -> Self {
        let settled = match effect {
            Effect::Exit => id.is_init() && never_will_run(state, id),
            Effect::Deletion => counts_as_ended(state, id),
        };
        let killed = state.tasks.get(id).is_some_and(|process| process.deadlines.is_being_killed());
        match () {
            () if state.is_root(id) => Self::Nobody,
            () if settled => Self::Itself,
            () if !id.is_init() => Self::Container,
            () if root_is_ending(state) => Self::Nobody,
            // What runs is not asked to end by a Delete.
            () if !killed || endangers_a_sibling(state, id) => Self::Sibling,
            () => Self::Nobody,
        }
    }
}

/// Whether another container than the root lives, and nobody has sent it a SIGKILL.
fn endangers_a_sibling(state: &State, id: &ProcessId) -> bool {
    let mut others = state.tasks.containers().filter(|(other, _)| **other != id.container);
    others.any(|(other, container)| {
        *other != state.sandbox
            && !container.init.deadlines.is_being_killed()
            && lives(state, &ProcessId::init(other), container)
    })
}

/// A container that runs or is on its way to.
fn lives(state: &State, id: &ProcessId, container: &Container) -> bool {
    let on_its_way = match container.init.life() {
        Life::Adding => container.is_being_created(),
        Life::Added => is_starting(state, id),
        Life::Started => true,
    };
    !container.init.has_ended() && on_its_way
}

fn root_is_ending(state: &State) -> bool {
    state.tasks.container(&state.sandbox).is_none_or(|root| {
        let root = &root.init;
        root.deadlines.is_being_killed()
            || root.deadlines.is_being_deleted()
            || root.has_ended()
            || root.sentry_lingers_since().is_some()
    })
}

/// A process that has ended, or was added and is neither started nor being started.
pub(crate) fn counts_as_ended(state: &State, id: &ProcessId) -> bool {
    let Some(process) = state.tasks.get(id) else { return false };
    process.has_ended() || process.is_added() && !is_starting(state, id)
}

/// A member that was created, and is neither started nor being started: what SIGKILL has destroyed, or what
/// went with its root, was nothing that could end.
fn never_will_run(state: &State, id: &ProcessId) -> bool {
    let added = state.tasks.get(id).is_some_and(|process| process.is_added());
    added && !state.is_root(id) && !is_starting(state, id)
}

fn is_starting(state: &State, id: &ProcessId) -> bool {
    let starting = |call: &Call| call.process == *id && call.kind == Kind::Start;
    state.inflight.calls().any(|(_, call)| starting(call))
}

/// Whether its container's Create is under way, and not being torn down.
pub(crate) fn is_being_created(state: &State, id: &ProcessId) -> bool {
    state.tasks.container(&id.container).is_some_and(Container::is_being_created)
}

/// Whether a step of the guard's own is under way for this process, whose end or limit comes next.
pub(crate) fn is_busy_with(state: &State, id: &ProcessId) -> bool {
    state.tasks.container(&id.container).is_some_and(Container::is_being_torn_down)
        || state.tasks.get(id).is_some_and(|process| process.is_being_released())
}
