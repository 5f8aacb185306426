//! A process that was killed and does not die, described so that an operator knows where to look.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::processes::process::{Process, Role};
use crate::resources::cgroup;
use crate::resources::mounts;
use crate::sys::identity::{self, Identity};
use crate::sys::kernel::PidFd;
use crate::sys::procfs;

/// File systems that others serve: by a part of their wait channels, how the kinds of their mounts begin, and who serves
/// them.
const SERVED: [(&str, &str, &str); 7] = [
    ("fuse", "fuse", "a FUSE server"),
    ("request_wait_answer", "fuse", "a FUSE server"),
    ("nfs", "nfs", "an NFS server"),
    ("rpc_", "nfs", "an NFS server"),
    ("cifs", "cifs", "an SMB server"),
    ("p9_", "9p", "a 9P server"),
    ("ceph", "ceph", "Ceph"),
];

/// What outlived its SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckProcess {
    /// Which process.
    pub identity: Identity,
    /// What it was there for.
    pub role: Role,
    /// The kernel's name for it.
    pub comm: String,
    /// Of the thread that hangs; D is what SIGKILL cannot end.
    pub state: char,
    /// Where in the kernel that thread waits.
    pub wchan: Option<String>,
    /// The cgroup that keeps it frozen.
    pub frozen: Option<PathBuf>,
    /// The mount that it probably waits for: where, and what.
    pub mount: Option<String>,
}

impl StuckProcess {
    pub(crate) fn of(process: &Process) -> Self {
        let pid = process.identity.pid;
        let threads = identity::threads(pid);
        let in_state = |state| threads.iter().find(|thread| thread.state == state);
        let stuck = in_state('D').or(in_state('R')).or(threads.first());
        let wchan = procfs::wait_channel(stuck.map_or(pid, |thread| thread.identity.pid));
        Self {
            identity: process.identity,
            role: process.role.clone(),
            comm: process.comm.clone(),
            state: stuck.map_or(process.state, |thread| thread.state),
            frozen: cgroup::freezable(pid).into_iter().find(|folder| cgroup::is_frozen(folder)),
            mount: wchan.as_deref().and_then(|wchan| waited_for(pid, wchan)),
            wchan,
        }
    }

    /// Whether it runs, or would if it had a processor: then it is not held by anything, and the node is busy.
    pub fn runs(&self) -> bool {
        self.state == 'R'
    }
}

/// A descriptor for each of these that becomes readable when the process has died after all.
pub fn await_death(stuck: &[StuckProcess]) -> Vec<(Identity, PidFd)> {
    stuck.iter().filter_map(|one| Some((one.identity, one.identity.open().ok()?))).collect()
}

/// The file system that a wait channel belongs to: how the kinds of its mounts begin, and who serves it.
pub fn served(wchan: &str) -> Option<(&'static str, &'static str)> {
    SERVED.iter().find(|(part, ..)| wchan.contains(part)).map(|(_, kind, server)| (*kind, *server))
}

/// The mount of the kind that a wait channel belongs to, if the process sees one.
fn waited_for(pid: i32, wchan: &str) -> Option<String> {
    let (kind, _) = served(wchan)?;
    let mounts = mounts::seen_by(&pid.to_string()).ok()?;
    let mount = mounts.into_iter().find(|mount| mount.kind.starts_with(kind))?;
    Some(mount.to_string())
}

impl fmt::Display for StuckProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({}, {}) state {}", self.identity.pid, self.comm, self.role, self.state)?;
        if let Some(wchan) = &self.wchan {
            write!(f, " in {wchan}")?;
        }
        if let Some(folder) = &self.frozen {
            write!(f, ", frozen by {}", folder.display())?;
        }
        self.mount.as_ref().map_or(Ok(()), |mount| write!(f, ", waiting for mount {mount}"))
    }
}
