//! Which containerd of this node is meant: the one at the socket that was named, else the one that listens where a
//! distribution's does; and whose it is.

use std::path::{Path, PathBuf};
use std::time::Instant;

use runsc_guard_sandbox::processes::proof::Vantage;
use runsc_guard_sandbox::sys::{bounded, procfs};

use super::distribution::{Distribution, Signs};
use super::process::{Containerd, Greeting, meet};

/// What its operator has said of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// containerd's socket.
    pub(crate) address: Option<PathBuf>,
    /// Whose containerd it is.
    pub(crate) distribution: Option<Distribution>,
}

/// A containerd, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The containerd.
    pub(crate) containerd: Containerd,
    /// Whose it is.
    pub(crate) distribution: Distribution,
    /// What restarts it.
    pub(crate) restart: String,
}

/// Looks for it.
pub(crate) fn find(said: &Said, deadline: Instant) -> Found {
    let containerd = match (&said.address, said.distribution) {
        (Some(address), _) => meet(address, deadline),
        (None, Some(distribution)) => meet(distribution.socket(), deadline),
        (None, None) => search(deadline),
    };
    let exists = |path: &Path| path.exists();
    // What a process of another user says of itself proves nothing.
    let process = containerd.process.as_ref().filter(|process| Vantage::new().is_root(process.pid));
    let unit = process.and_then(|process| unit(process.pid));
    let signs = Signs {
        argv: process.and_then(|process| bounded::command_line(process.pid).ok()).unwrap_or_default(),
        exe: process.map(|process| process.exe.clone()).unwrap_or_default(),
        path: process.map(|process| process.path.clone()).unwrap_or_default(),
        address: containerd.address.clone(),
        unit: unit.clone(),
    };
    let distribution = said.distribution.unwrap_or_else(|| Distribution::of(&signs, exists));
    let restart = distribution.restart(unit.as_deref(), exists);
    Found { containerd, distribution, restart }
}

/// The first that somebody listens at; where nobody does, the first of which there is a configuration.
fn search(deadline: Instant) -> Containerd {
    let mut nobody = Vec::new();
    for distribution in Distribution::SEARCHED {
        let met = meet(distribution.socket(), deadline);
        if !matches!(met.greeting, Greeting::Absent | Greeting::Refused) {
            return met;
        }
        nobody.push((distribution, met));
    }
    let ended = nobody.iter().position(|(_, met)| met.greeting == Greeting::Refused);
    let configured = || nobody.iter().position(|(distribution, _)| distribution.config().exists());
    let usual = || nobody.iter().position(|(distribution, _)| *distribution == Distribution::default());
    let at = ended.or_else(configured).or_else(usual).unwrap_or_default();
    nobody.swap_remove(at).1
}

/// The service that a process is in: the last of its cgroup's folders that is one.
fn unit(pid: i32) -> Option<String> {
    let folders = procfs::cgroups(pid).into_iter().map(|(_, folder)| folder);
    folders.into_iter().find_map(|folder| {
        let names =
            folder.iter().rev().filter_map(|name| name.to_str()?.strip_suffix(".service").map(str::to_owned));
        names.into_iter().next()
    })
}
