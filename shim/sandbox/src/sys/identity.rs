//! Which process is which: a pid together with its start time, and the line of /proc that tells both.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::kernel::PidFd;
use crate::sys::procfs::{dir, numbers, read_file, ticks};

/// A process forever: a pid may be given to a stranger, the pair may not (within one boot).
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

    /// How long it has lived, so long after the boot.
    pub fn age(&self, uptime: Duration) -> Duration {
        uptime.saturating_sub(ticks(self.start_time))
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

/// The fields of `/proc/<pid>/stat` that identify a process and tell whether it can still do anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Pid and start time.
    pub identity: Identity,
    /// The name that the kernel shows (`exe` for a sentry).
    pub comm: String,
    /// R, S, D, T, t, Z, ...
    pub state: char,
    /// The parent.
    pub parent: i32,
    /// Threads left. A process is gone only when its last one is.
    pub threads: u32,
    /// The kernel's flags of the process (include/linux/sched.h).
    pub(crate) flags: u32,
    /// Pages that it had to wait for a disk for.
    pub(crate) major_faults: u64,
    /// Processor time that it has used, in ticks: a process all its threads together.
    pub(crate) ticks: u64,
}

/// Set when a thread begins to exit.
const PF_EXITING: u32 = 4;

impl Stat {
    /// Of a process, or of a single thread when `pid` is one's id.
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(&dir(pid))
    }

    fn read(dir: &Path) -> io::Result<Self> {
        Self::parse(&read_file(&dir.join("stat"))?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// `comm` is in parentheses and may contain some itself: the last one in the line closes it.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
        let comm = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(&line[close + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        let major_faults = fields.nth(2)?.parse().ok()?;
        let (user, system): (u64, u64) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let threads = fields.nth(4)?.parse().ok()?;
        let identity = Identity { pid, start_time: fields.nth(1)?.parse().ok()? };
        let ticks = user.saturating_add(system);
        Some(Self { identity, comm, state, parent, threads, flags, major_faults, ticks })
    }

    /// A zombie, except one whose other threads still run: a Go program's first thread ends first, and the
    /// one that hangs in the kernel may be any.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }

    /// Its first thread is on its way out or has ended: whoever is killed is so for a while before it is dead, and has
    /// neither a program nor a command line any more by which it could be told whose it is.
    pub(crate) const fn is_exiting(&self) -> bool {
        self.flags & PF_EXITING != 0
    }
}

/// Every thread of a process that has not exited.
pub fn threads(pid: i32) -> Vec<Stat> {
    let task = dir(pid).join("task");
    let stats =
        numbers(&task).unwrap_or_default().into_iter().map(|id| Stat::read(&task.join(id.to_string())));
    stats.flatten().filter(|stat| !matches!(stat.state, 'Z' | 'X' | 'x')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::process::Command;
    use std::time::Instant;

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

    #[test]
    fn parentheses_and_spaces_in_a_name_do_not_shift_the_fields() {
        let line = b"42 (a) R 1 (b ) S 7 42 42 0 -1 4194368 15 0 33 0 100 20 0 0 20 0 3 0 9876 1 2 3\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.identity, Identity { pid: 42, start_time: 9876 });
        assert_eq!((stat.comm.as_str(), stat.state, stat.parent, stat.threads), ("a) R 1 (b ", 'S', 7, 3));
        assert_eq!((stat.flags, stat.major_faults, stat.ticks), (4_194_368, 33, 120));
    }

    #[test]
    fn nonsense_is_refused_and_not_a_panic() {
        for line in [&b""[..], b"1", b")(", b"1 (x", b"1 (x) S", b"x (x) S 1 1 1", b"1 (x) S 1 1 1 1 1 1"] {
            assert!(Stat::parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_zombie_with_threads_left_is_not_dead() {
        let line = b"42 (exe) Z 7 42 42 0 -1 4194368 15 0 0 0 0 0 0 0 20 0 3 0 9876 1\n";
        let mut stat = Stat::parse(line).unwrap();
        assert!(!stat.is_dead());
        stat.threads = 1;
        assert!(stat.is_dead());
    }

    #[test]
    fn who_is_about_to_be_dead_says_so() {
        let killed = b"460 (exe) Z 1 460 460 0 -1 4227340 1768 0 0 0 1 0 0 0 20 0 2 0 504576 0\n";
        let stat = Stat::parse(killed).unwrap();
        assert!(stat.is_exiting() && !stat.is_dead());
        assert!(!Stat::of(std::process::id() as i32).unwrap().is_exiting());
    }

    #[test]
    fn what_the_kernel_says_of_this_process() {
        let pid = std::process::id() as i32;
        assert_eq!(Stat::of(pid).unwrap().parent, std::os::unix::process::parent_id() as i32);
        assert!(!threads(pid).is_empty());
    }
}
