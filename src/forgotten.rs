//! A sandbox that containerd has forgotten.
//!
//! A containerd that starts and does not find the guard's program at its path (an upgrade has moved it) can run no
//! `delete`: it removes the bundle and forgets the task, and nobody will ever ask for the end of what runs on. While
//! containerd knows a task it is connected, so nothing is looked for as long as anybody is. After that the bundles are
//! looked at, and only where all of them are gone containerd itself is asked. Twice in a row, a minute apart, and
//! the guard does what `delete` would have asked for. Where it cannot be known the guard waits.

use alloc::string::String;
use alloc::vec::Vec;

use crate::guard::{Guard, Phase};
use crate::io::{Note, Output, ProcessId, Recalled};
use crate::policy::{RECALL_AFTER, RECALL_AGAIN_AFTER};
use crate::time::Time;
use crate::timers::Timer;

/// What is known of containerd's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It knows the sandbox, as far as can be seen.
    #[default]
    None,
    /// It is to be looked at then; whether the look before found it forgotten.
    Until(Time, bool),
    /// It is being looked at.
    Looking(bool),
}

impl Guard {
    /// The last connection to the guard has ended.
    pub(crate) fn deserted(&mut self) {
        if self.doubt == Doubt::None {
            self.set_doubt(Doubt::Until(self.now + RECALL_AFTER, false));
        }
    }

    fn set_doubt(&mut self, doubt: Doubt) {
        self.doubt = doubt;
        self.timers.set(Timer::Recall, self.recall_due());
    }

    /// When to look. Not while the ladder runs, nor on the way out: that is an end already.
    pub(crate) fn recall_due(&self) -> Option<Time> {
        match (self.doubt, &self.phase) {
            (Doubt::Until(due, _), Phase::Open | Phase::Gone(_)) => Some(due),
            _ => None,
        }
    }

    pub(crate) fn recall_if_due(&mut self) {
        if let Doubt::Until(_, before) = self.doubt
            && self.recall_due().is_some_and(|due| due <= self.now)
        {
            self.set_doubt(Doubt::Looking(before));
            self.output(Output::Recall);
        }
    }

    /// What was found. A look that hangs is not repeated: where it cannot be known, nothing is done.
    pub(crate) fn recalled(&mut self, recalled: Recalled) {
        let Doubt::Looking(before) = self.doubt else { return };
        let again = self.now + RECALL_AGAIN_AFTER;
        self.set_doubt(match recalled {
            Recalled::Known => Doubt::None,
            Recalled::Unclear => Doubt::Until(again, false),
            Recalled::Forgotten if before => Doubt::None,
            Recalled::Forgotten => Doubt::Until(again, true),
        });
        if recalled == Recalled::Forgotten && before {
            self.end_what_is_forgotten();
        }
    }

    /// What `delete` would have asked for, for each container.
    fn end_what_is_forgotten(&mut self) {
        if !matches!(self.phase, Phase::Open | Phase::Gone(_)) {
            return;
        }
        self.note(Note::Forgotten);
        self.leaving = true;
        self.reserved.clear();
        let containers: Vec<String> = self.tasks.0.keys().cloned().collect();
        for container in &containers {
            if let Some(task) = self.tasks.0.get_mut(container) {
                task.init.end = true;
            }
        }
        for process in containers.iter().map(|container| ProcessId::init(container)) {
            match self.phase {
                Phase::Open => self.pursue_end(&process),
                _ => drop(self.delete_from_record(&process)),
            }
        }
        self.close_if_empty();
    }
}
