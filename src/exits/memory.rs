//! What is remembered of processes that are deleted: how they ended, and who has published that.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::exit::{Exit, Publisher};
use crate::io::ProcessId;

/// How many exits of deleted containers are remembered for their `delete`.
const DELETED: usize = 16;
/// How many exits of deleted processes wait for the real shim's own event, before the guard publishes the oldest.
const UNPUBLISHED: usize = 64;
/// How many deleted processes are remembered whose exit the guard has published: what the real shim still says of
/// them is on its way already, if it says anything.
const SILENCED: usize = 64;
/// How much that was released alone is remembered.
const RELEASED: usize = 64;

/// The exit of a process that was deleted before the real shim published it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpublishedExit {
    pub(crate) exit: Exit,
    /// Nobody has been told this exit yet: what the real shim says of it goes first.
    pub(crate) is_guess: bool,
}

/// All of it, bounded.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    silenced: VecDeque<ProcessId>,
    unpublished: BTreeMap<ProcessId, UnpublishedExit>,
    /// Exits that the real shim has reported of a sandbox that was killed and is not known to be dead.
    withheld: Vec<(ProcessId, Exit)>,
    deleted: VecDeque<(String, Exit)>,
    /// What was released alone and deleted, though the real shim may still know it.
    released: VecDeque<ProcessId>,
}

impl Memory {
    /// Whether the guard has published the exit of this deleted process.
    pub(crate) fn is_silenced(&self, id: &ProcessId) -> bool {
        self.silenced.contains(id)
    }

    /// A new process has this name: what the real shim says is about that one.
    pub(crate) fn listen_to(&mut self, id: &ProcessId) {
        self.silenced.retain(|silenced| silenced != id);
        self.forget_released(id);
    }

    /// Remembers of a deleted process who has published its exit.
    pub(crate) fn remember_publisher(&mut self, id: &ProcessId, publisher: Publisher) {
        if publisher == Publisher::Guard && !self.silenced.contains(id) {
            push_bounded(&mut self.silenced, id.clone(), SILENCED);
        }
    }

    /// An exit waits for the real shim's event; the one that has waited too long for that.
    pub(crate) fn await_event(
        &mut self,
        id: &ProcessId,
        exit: UnpublishedExit,
    ) -> Option<(ProcessId, UnpublishedExit)> {
        self.unpublished.insert(id.clone(), exit);
        if self.unpublished.len() > UNPUBLISHED { self.unpublished.pop_first() } else { None }
    }

    /// The exit of a deleted process whose event comes now.
    pub(crate) fn take_unpublished(&mut self, id: &ProcessId) -> Option<UnpublishedExit> {
        self.unpublished.remove(id)
    }

    pub(crate) fn take_all_unpublished(&mut self) -> BTreeMap<ProcessId, UnpublishedExit> {
        core::mem::take(&mut self.unpublished)
    }

    pub(crate) fn withhold(&mut self, id: ProcessId, exit: Exit) {
        self.withheld.push((id, exit));
    }

    pub(crate) fn take_withheld(&mut self) -> Vec<(ProcessId, Exit)> {
        core::mem::take(&mut self.withheld)
    }

    /// Remembers how a deleted container ended, for the `delete` that follows.
    pub(crate) fn remember_deleted(&mut self, id: &ProcessId, exit: Exit) {
        if id.is_init() {
            self.deleted.retain(|(known, _)| *known != id.container);
            push_bounded(&mut self.deleted, (id.container.clone(), exit), DELETED);
        }
    }

    /// How a deleted container ended, as long as that is remembered.
    pub(crate) fn deleted_exit(&self, container: &str) -> Option<Exit> {
        self.deleted.iter().find(|(id, _)| id == container).map(|(_, exit)| *exit)
    }

    pub(crate) fn remember_released(&mut self, id: &ProcessId) {
        push_bounded(&mut self.released, id.clone(), RELEASED);
    }

    /// Whether a process, or its container, was released alone.
    pub(crate) fn is_released(&self, id: &ProcessId) -> bool {
        let covers = |gone: &ProcessId| gone == id || gone.is_init() && gone.container == id.container;
        self.released.iter().any(covers)
    }

    /// The real shim knows nothing of it any more either, or knows another one of that name.
    pub(crate) fn forget_released(&mut self, id: &ProcessId) {
        self.released.retain(|gone| gone != id && (!id.is_init() || gone.container != id.container));
    }

    #[cfg(test)]
    pub(crate) fn deleted(&self) -> impl Iterator<Item = &str> {
        self.deleted.iter().map(|(id, _)| id.as_str())
    }

    #[cfg(test)]
    pub(crate) fn unpublished(&self) -> usize {
        self.unpublished.len()
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}
