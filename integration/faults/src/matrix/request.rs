//! What is under way when the fault is injected.

use super::fault::Fault;
use super::gate::Place;
use std::fmt;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Create of the container (of a pod: of the third).
    Create,
    /// Its Start.
    Start,
    /// An exec in it.
    Exec,
    /// SIGTERM to it.
    KillTerm,
    /// SIGKILL to it.
    KillKill,
    /// Its Delete after its exit.
    Delete,
    /// Its Stats.
    Stats,
    /// A Shutdown such as containerd sends after the Delete of any container of a pod.
    Shutdown,
    /// Nothing: the first to come is the end.
    None,
}

impl Request {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::Start,
        Self::Exec,
        Self::KillTerm,
        Self::KillKill,
        Self::Delete,
        Self::Stats,
        Self::Shutdown,
        Self::None,
    ];

    /// The runsc command that it needs, which is where it is held while the fault is injected. Shutdown needs none,
    /// and so it is sent right after.
    pub(super) fn gate(self, fault: Fault) -> Option<(Place, &'static str)> {
        match (self, fault) {
            // What never does anything is held before it could.
            (Self::Create, Fault::Hangs("create") | Fault::Fails(_, "create")) => {
                Some((Place::Before, "create"))
            }
            // A sandbox must be there to be hurt: its Create is held when that is made.
            (Self::Create, _) => Some((Place::After, "create")),
            (Self::Start, _) => Some((Place::Before, "start")),
            (Self::Exec, _) => Some((Place::Before, "exec")),
            (Self::KillTerm | Self::KillKill, _) => Some((Place::Before, "kill")),
            (Self::Delete, _) => Some((Place::Before, "delete")),
            (Self::Stats, _) => Some((Place::Before, "events")),
            (Self::Shutdown | Self::None, _) => None,
        }
    }

    /// Whether the container is still to be created when the request comes.
    pub(super) fn makes_the_container(self) -> bool {
        matches!(self, Self::Create | Self::Start)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Exec => "Exec",
            Self::KillTerm => "Kill TERM",
            Self::KillKill => "Kill KILL",
            Self::Delete => "Delete",
            Self::Stats => "Stats",
            Self::Shutdown => "Shutdown",
            Self::None => "none",
        })
    }
}
