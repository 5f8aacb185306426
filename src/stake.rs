//! What ending the sandbox for one process would cost. To be protected is a living container that nobody has asked to
//! end; where there is none, there is nothing to wait for.

use crate::call::{Call, Kind};
use crate::clocks::Deadline;
use crate::guard::Guard;
use crate::io::ProcessId;
use crate::task::{Life, Task, Teardown};

/// Who would pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stake {
    /// Nobody who was not asked to end: the deadline holds exactly.
    Nobody,
    /// Nobody at all: the process has ended or never ran, and is settled by itself at the deadline.
    Itself,
    /// Another container that lives: if the sentry is silent, or at `hard_limit`.
    Sibling,
    /// The container in which the process was exec'd: only if the sentry is silent.
    Container,
}

impl Stake {
    /// Whether the sentry has to be asked first.
    pub(crate) fn needs_verdict(self) -> bool {
        matches!(self, Self::Sibling | Self::Container)
    }
}

impl Guard {
    pub(crate) fn stake(&self, id: &ProcessId, which: Deadline) -> Stake {
        let settled = match which {
            Deadline::Kill => id.is_init() && self.never_will_run(id),
            Deadline::Delete => self.counts_as_ended(id),
        };
        let killed = self.tasks.get(id).is_some_and(|process| process.kill.is_some());
        match () {
            () if self.is_root(id) => Stake::Nobody,
            () if settled => Stake::Itself,
            () if !id.is_init() => Stake::Container,
            () if self.root_is_ending() => Stake::Nobody,
            // What runs is not asked to end by a Delete.
            () if !killed || self.endangers_a_sibling(id) => Stake::Sibling,
            () => Stake::Nobody,
        }
    }

    /// Whether another container than the root lives, and nobody has sent it a SIGKILL.
    fn endangers_a_sibling(&self, id: &ProcessId) -> bool {
        let mut others = self.tasks.0.iter().filter(|(other, _)| **other != id.container);
        others.any(|(other, task)| {
            *other != self.sandbox && task.init.kill.is_none() && self.lives(&ProcessId::init(other), task)
        })
    }

    /// A container that runs or is on its way to.
    fn lives(&self, id: &ProcessId, task: &Task) -> bool {
        let on_its_way = match task.init.life {
            Life::Adding => self.is_being_created(id),
            Life::Added => self.is_starting(id),
            Life::Started => true,
        };
        task.init.exit.is_none() && on_its_way
    }

    pub(crate) fn root_is_ending(&self) -> bool {
        self.tasks.0.get(&self.sandbox).is_none_or(|root| {
            let root = &root.init;
            root.kill.is_some() || root.delete.is_some() || root.exit.is_some() || root.lingers.is_some()
        })
    }

    /// A process that has ended, or was added and is neither started nor being started.
    pub(crate) fn counts_as_ended(&self, id: &ProcessId) -> bool {
        let Some(process) = self.tasks.get(id) else { return false };
        process.exit.is_some() || process.life == Life::Added && !self.is_starting(id)
    }

    /// A member that was created, and is neither started nor being started: what SIGKILL has destroyed, or what
    /// went with its root, was nothing that could end.
    pub(crate) fn never_will_run(&self, id: &ProcessId) -> bool {
        let added = self.tasks.get(id).is_some_and(|known| known.life == Life::Added);
        added && !self.is_root(id) && !self.is_starting(id)
    }

    fn is_starting(&self, id: &ProcessId) -> bool {
        let starting = |call: &Call| call.process == *id && call.kind == Kind::Start;
        self.calls.values().any(starting)
    }

    /// Whether its container's Create is under way, and not being torn down.
    pub(crate) fn is_being_created(&self, id: &ProcessId) -> bool {
        let creating = |task: &Task| task.creating.is_some() && task.teardown == Teardown::None;
        self.tasks.0.get(&id.container).is_some_and(creating)
    }

    /// Whether a step of the guard's own is under way for this process, whose end or limit comes next.
    pub(crate) fn is_busy_with(&self, id: &ProcessId) -> bool {
        let torn_down = |task: &Task| matches!(task.teardown, Teardown::Until(_));
        self.tasks.0.get(&id.container).is_some_and(torn_down)
            || self.tasks.get(id).is_some_and(|process| process.releasing.is_some())
    }
}
