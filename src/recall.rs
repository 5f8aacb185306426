//! Whether containerd still knows the sandbox.
//!
//! A containerd that starts and does not find the guard's program at its path (an upgrade has moved it) can run no
//! `delete`: it removes the bundle and forgets the task, and nobody will ever ask for the end of what runs on. While
//! containerd knows a task it is connected, so nothing is looked for as long as anybody is. After that the bundles are
//! looked at, and only where all of them are gone containerd itself is asked. Twice in a row, a minute apart, and
//! the guard does what `delete` would have asked for. Where it cannot be known the guard waits.

use crate::io::Recalled;
use crate::policy::{RECALL_AFTER, RECALL_AGAIN_AFTER};
use crate::time::Time;

/// What is known of containerd's memory.
#[derive(Debug, Default)]
pub(crate) struct Recall(Doubt);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    /// It knows the sandbox, as far as can be seen.
    #[default]
    None,
    /// It is to be looked at then; whether the look before found it forgotten.
    Until(Time, bool),
    /// It is being looked at.
    Looking(bool),
}

impl Recall {
    /// When to look.
    pub(crate) const fn due(&self) -> Option<Time> {
        match self.0 {
            Doubt::Until(due, _) => Some(due),
            Doubt::None | Doubt::Looking(_) => None,
        }
    }

    /// The last connection to the guard has ended.
    pub(crate) fn deserted(&mut self, now: Time) {
        if self.0 == Doubt::None {
            self.0 = Doubt::Until(now + RECALL_AFTER, false);
        }
    }

    /// A look begins.
    pub(crate) const fn look(&mut self) {
        if let Doubt::Until(_, before) = self.0 {
            self.0 = Doubt::Looking(before);
        }
    }

    /// What was found; true if the sandbox is forgotten for certain. A look that hangs is not repeated: where it cannot
    /// be known, nothing is done.
    pub(crate) fn recalled(&mut self, recalled: Recalled, now: Time) -> bool {
        let Doubt::Looking(before) = self.0 else { return false };
        let again = now + RECALL_AGAIN_AFTER;
        self.0 = match recalled {
            Recalled::Known => Doubt::None,
            Recalled::Unclear => Doubt::Until(again, false),
            Recalled::Forgotten if before => Doubt::None,
            Recalled::Forgotten => Doubt::Until(again, true),
        };
        recalled == Recalled::Forgotten && before
    }
}
