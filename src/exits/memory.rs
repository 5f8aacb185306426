//! What is remembered of processes that are deleted: how they ended, and who has published that.

use alloc::collections::VecDeque;
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
    /// The oldest first.
    unpublished: VecDeque<(ProcessId, UnpublishedExit)>,
    /// Exits that the real shim has reported of a sandbox that the guard was killing and that is not known to be dead.
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
        self.take_unpublished(id);
        self.unpublished.push_back((id.clone(), exit));
        if self.unpublished.len() > UNPUBLISHED { self.unpublished.pop_front() } else { None }
    }

    /// Whether the event of a deleted process is still to come.
    pub(crate) fn awaits(&self, id: &ProcessId) -> bool {
        self.unpublished.iter().any(|(waiting, _)| waiting == id)
    }

    /// The exit of a deleted process whose event comes now.
    pub(crate) fn take_unpublished(&mut self, id: &ProcessId) -> Option<UnpublishedExit> {
        let at = self.unpublished.iter().position(|(waiting, _)| waiting == id)?;
        self.unpublished.remove(at).map(|(_, exit)| exit)
    }

    pub(crate) fn take_all_unpublished(&mut self) -> VecDeque<(ProcessId, UnpublishedExit)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn init(container: &str) -> ProcessId {
        ProcessId::init(container)
    }

    fn exec(container: &str) -> ProcessId {
        ProcessId { container: container.into(), exec: "e".into() }
    }

    const EXIT: Exit = Exit { pid: 7, status: 3, at_ns: 1 };

    fn waits() -> UnpublishedExit {
        UnpublishedExit { exit: EXIT, is_guess: false }
    }

    #[test]
    fn who_is_new_under_a_name_is_heard_and_nobody_else() {
        let mut memory = Memory::default();
        memory.remember_publisher(&init("a"), Publisher::Guard);
        memory.remember_publisher(&init("b"), Publisher::Guard);
        memory.remember_publisher(&init("c"), Publisher::RealShim);
        assert!(memory.is_silenced(&init("a")) && !memory.is_silenced(&init("c")));
        memory.remember_released(&init("a"));
        memory.listen_to(&init("a"));
        assert!(!memory.is_silenced(&init("a")) && memory.is_silenced(&init("b")));
        assert!(!memory.is_released(&init("a")));
    }

    #[test]
    fn what_is_released_covers_its_execs_and_no_other_container() {
        let mut memory = Memory::default();
        memory.remember_released(&init("a"));
        assert!(memory.is_released(&init("a")) && memory.is_released(&exec("a")));
        assert!(!memory.is_released(&init("b")) && !memory.is_released(&exec("b")));
        let mut memory = Memory::default();
        memory.remember_released(&exec("a"));
        assert!(memory.is_released(&exec("a")) && !memory.is_released(&init("a")));
    }

    #[test]
    fn what_is_forgotten_takes_its_execs_along_and_nothing_else() {
        let all = || {
            let mut memory = Memory::default();
            [init("a"), exec("a"), init("b"), exec("b")].iter().for_each(|id| memory.remember_released(id));
            memory
        };
        let left = |memory: &Memory| {
            [init("a"), exec("a"), init("b"), exec("b")].map(|id| memory.released.contains(&id))
        };
        let mut memory = all();
        memory.forget_released(&init("a"));
        assert_eq!(left(&memory), [false, false, true, true]);
        let mut memory = all();
        memory.forget_released(&exec("a"));
        assert_eq!(left(&memory), [true, false, true, true]);
    }

    #[test]
    fn of_a_deleted_container_the_last_exit_is_known_and_not_for_ever() {
        let mut memory = Memory::default();
        let later = Exit { status: 9, ..EXIT };
        memory.remember_deleted(&init("a"), EXIT);
        memory.remember_deleted(&init("b"), EXIT);
        memory.remember_deleted(&init("a"), later);
        memory.remember_deleted(&exec("c"), EXIT);
        assert_eq!(memory.deleted_exit("a"), Some(later));
        assert_eq!(memory.deleted_exit("b"), Some(EXIT));
        assert_eq!(memory.deleted_exit("c"), None);
        (0..DELETED).for_each(|number| memory.remember_deleted(&init(&format!("{number}")), EXIT));
        assert_eq!(memory.deleted_exit("a"), None);
        assert_eq!(memory.deleted().count(), DELETED);
    }

    #[test]
    fn who_has_waited_longest_for_an_event_is_published_first() {
        let mut memory = Memory::default();
        // Against the order of their names.
        let names: Vec<_> = (0..UNPUBLISHED).rev().map(|number| init(&format!("{number:03}"))).collect();
        for id in &names {
            assert!(memory.await_event(id, waits()).is_none());
        }
        // Again is later.
        assert!(memory.await_event(&names[0], waits()).is_none());
        let (first, _) = memory.await_event(&init("new"), waits()).unwrap();
        assert_eq!(first, names[1]);
        assert!(memory.take_unpublished(&names[1]).is_none());
        assert_eq!(memory.take_unpublished(&names[0]).map(|one| one.exit), Some(EXIT));
        assert_eq!(memory.take_all_unpublished().len(), UNPUBLISHED - 1);
        assert_eq!(memory.unpublished(), 0);
    }

    #[test]
    fn what_is_withheld_is_told_once() {
        let mut memory = Memory::default();
        memory.withhold(init("a"), EXIT);
        assert_eq!(memory.take_withheld(), [(init("a"), EXIT)]);
        assert!(memory.take_withheld().is_empty());
    }
}
