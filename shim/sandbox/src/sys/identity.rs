//! Which process is which: a pid together with its start time.

use std::io;

use serde::{Deserialize, Serialize};

use crate::sys::kernel::PidFd;
use crate::sys::procfs::Stat;

/// A process for ever: a pid may be given to a stranger, the pair may not (within one boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The process id, in the guard's own pid namespace.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    pub start_time: u64,
}

impl Identity {
    /// Who has this pid now; `NotFound` if nobody has.
    pub fn of(pid: i32) -> io::Result<Self> {
        Stat::of(pid).map(|stat| stat.identity)
    }

    /// The calling process.
    pub fn me() -> io::Result<Self> {
        Self::of(i32::try_from(std::process::id()).map_err(io::Error::other)?)
    }

    /// Whether this very process still runs. A zombie does not; a process of which only the first thread has
    /// exited does; so does one that cannot be looked at (no descriptors are left, say): that proves nothing.
    pub fn is_alive(&self) -> bool {
        match Stat::of(self.pid) {
            Ok(stat) => stat.identity == *self && !stat.is_dead(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// A pidfd that is certain to be this process: it is opened first and the start time compared after, so
    /// that a pid given away in between is noticed. `NotFound` if the process is gone.
    pub fn open(&self) -> io::Result<PidFd> {
        let fd = PidFd::of(self.pid).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => io::ErrorKind::NotFound.into(),
            _ => error,
        })?;
        if Self::of(self.pid)? == *self { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn a_zombie_is_not_alive_but_still_itself() {
        let mut child = Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        let fd = identity.open().unwrap();
        assert!(fd.wait(Instant::now() + Duration::from_secs(5)));
        assert!(!identity.is_alive());
        assert_eq!(Identity::of(identity.pid).unwrap(), identity);
        child.wait().unwrap();
        assert_eq!(Identity::of(identity.pid).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(identity.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let mut me = Identity::me().unwrap();
        assert!(me.is_alive());
        me.start_time += 1;
        assert!(!me.is_alive());
        assert_eq!(me.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_stopped_process_is_alive() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        identity.open().unwrap().send(Signal::SIGSTOP).unwrap();
        assert!(identity.is_alive());
        identity.open().unwrap().send(Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
