//! What outlives a sandbox, named so that an operator can find it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::identity::Identity;
use crate::teardown::stuck::StuckProcess;

/// One thing left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftover {
    /// A process that lives.
    Process(StuckProcess),
    /// A mount that could not be removed, not even lazily.
    Mount {
        /// Where.
        point: PathBuf,
        /// Which kind of file system.
        kind: String,
        /// What is mounted.
        source: String,
    },
    /// A mount that is out of sight, but kept by somebody.
    DetachedMount {
        /// Where it was.
        point: PathBuf,
        /// Who has a file, the working folder or the root on it.
        holders: Vec<Identity>,
    },
    /// A cgroup that runsc made.
    Cgroup(PathBuf),
    /// A file, socket or folder of runsc or of the real shim. One that a hanging file system does not let us
    /// look for counts as left.
    File(PathBuf),
    /// Something that the engine wants run when a container is deleted, which did not run to its end.
    Hook {
        /// The program.
        path: PathBuf,
        /// Whose.
        container: String,
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(one) => write!(f, "process: {one}"),
            Self::Mount { point, kind, source } => write!(f, "mount: {} ({kind} {source})", point.display()),
            Self::DetachedMount { point, holders } => {
                let pids: Vec<String> = holders.iter().map(|holder| holder.pid.to_string()).collect();
                write!(f, "detached mount: {}, held by pid {}", point.display(), pids.join(", "))
            }
            Self::Cgroup(path) => write!(f, "cgroup: {}", path.display()),
            Self::Hook { path, container, why } => {
                write!(f, "poststop hook of {container} not run: {}: {why}", path.display())
            }
            Self::File(path) => write!(f, "file: {}", path.display()),
        }
    }
}

/// Each in words.
pub fn words(left: &[impl ToString]) -> Vec<String> {
    left.iter().map(ToString::to_string).collect()
}

/// Adds what is not there yet; a process is the same one however it was seen.
pub(crate) fn add_new(left: &mut Vec<Leftover>, more: Vec<Leftover>) {
    for leftover in more {
        let known = |one: &Leftover| match (one, &leftover) {
            (Leftover::Process(one), Leftover::Process(other)) => one.identity == other.identity,
            (one, other) => one == other,
        };
        if !left.iter().any(known) {
            left.push(leftover);
        }
    }
}
