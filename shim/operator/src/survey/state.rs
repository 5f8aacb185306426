//! The states of a sandbox.

use serde::{Serialize, Serializer};

/// How a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Its Create is under way.
    Starting,
    /// Nothing speaks against it.
    Running,
    /// Paused by runsc.
    Paused,
    /// It cannot answer, or has not for long.
    Wedged,
    /// Its guard is ending or closing it.
    Ending,
    /// Its processes are gone, its exit is not collected.
    Ended,
    /// Killed, and the kernel keeps it.
    Unkillable,
    /// Who started it is dead.
    Orphaned,
    /// It cannot be told whether who started it is dead.
    Unknown,
    /// Nobody vouches for it.
    Unproven,
}

impl State {
    /// Every one.
    pub(crate) const ALL: [Self; 10] = [
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Wedged,
        Self::Ending,
        Self::Ended,
        Self::Unkillable,
        Self::Orphaned,
        Self::Unknown,
        Self::Unproven,
    ];

    /// Its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Wedged => "wedged",
            Self::Ending => "ending",
            Self::Ended => "ended",
            Self::Unkillable => "unkillable",
            Self::Orphaned => "orphaned",
            Self::Unknown => "unknown",
            Self::Unproven => "unproven",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}
