//! What is hurt.

use std::fmt;

/// Whose sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A stand-alone container, by `ctr`.
    StandAlone,
    /// A pod of three containers, by CRI; what is asked for is asked of the third.
    Pod,
}

impl Subject {
    /// Both.
    pub const ALL: [Self; 2] = [Self::StandAlone, Self::Pod];
    /// So many are in a pod, beside its root.
    pub(super) const CONTAINERS: u32 = 3;
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StandAlone => "stand-alone",
            Self::Pod => "pod",
        })
    }
}
