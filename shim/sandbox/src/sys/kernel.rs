//! System calls that `std` does not offer, as few as are needed, by `rustix`.
//!
//! A pidfd names one process forever: a signal sent through it reaches that process or nobody, and it
//! becomes readable when the *whole* process has exited, reaped or not. A bare pid offers neither, so nothing
//! here takes one to send a signal to.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal, setpriority_process};

/// How often a child is looked at that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A process, dead or alive, that cannot be mistaken for another one.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens whatever process has `pid` now. To be sure which process that is, use
    /// [`Identity::open`](crate::sys::identity::Identity::open).
    pub fn of(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid.max(0)).ok_or(Errno::INVAL)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Sends a signal. A process that is gone by now is no error: there is nothing left to signal.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(Errno::INVAL)?;
        match pidfd_send_signal(&self.0, signal) {
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Whether the process has exited, all its threads included.
    pub fn is_dead(&self) -> bool {
        self.wait(Instant::now())
    }

    /// Waits until the process has exited; false if `deadline` comes first.
    pub fn wait(&self, deadline: Instant) -> bool {
        wait_all(std::iter::once(self), deadline)
    }
}

/// Lets everybody else go first, from this thread and from what it starts.
pub fn give_way() {
    // A refusal only means that it stays as it is.
    let _ = setpriority_process(None, 19);
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(fd: PidFd) -> Self {
        fd.0
    }
}

/// Waits until every one of these processes has exited; false if `deadline` comes first.
pub fn wait_all<'a>(processes: impl IntoIterator<Item = &'a PidFd>, deadline: Instant) -> bool {
    let mut waiting: Vec<PollFd<'_>> = processes.into_iter().map(|one| interest(one.as_fd())).collect();
    while !waiting.is_empty() {
        let now = Instant::now();
        match poll(&mut waiting, deadline.saturating_duration_since(now)) {
            Ok(_) => waiting.retain(|one| one.revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        if now >= deadline {
            break;
        }
    }
    waiting.is_empty()
}

/// Waits for the end of a child and reaps it; none if `deadline` comes first, an error if somebody else has reaped it.
pub fn wait_child(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    // Where no descriptor can be had this is left out, and the child is looked at again and again.
    if let Ok(process) = PidFd::of(child.id().cast_signed()) {
        process.wait(deadline);
    }
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            ended => return Ok(ended),
        }
    }
}

/// Waits until `fd` can be read or its other end is closed; false if `deadline` comes first.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    let mut one = [interest(fd)];
    loop {
        match poll(&mut one, deadline.saturating_duration_since(Instant::now())) {
            Err(Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Whether this kernel has pidfds (5.3 and later). Without them nothing could be killed with certainty, and
/// the guard does not start.
pub fn pidfd_supported() -> bool {
    let own = i32::try_from(std::process::id());
    own.is_ok_and(|pid| PidFd::of(pid).is_ok())
}

/// Mounts a file system without options where nobody sees it: what comes back is its root, and closing that
/// unmounts it. Linux 5.2, as old as pidfds are.
pub fn mount_detached(kind: &CStr) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Which file, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: (u32, u32),
    inode: u64,
    /// The user who owns it.
    pub owner: u32,
    /// Its kind and permissions.
    pub mode: u16,
}

/// What to do where the last step of a path is a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Look at what it leads to.
    Follow,
    /// Look at the link.
    Stay,
}

impl FileId {
    /// Of the file at this path, as far as the kernel knows it: no server of a file system is asked, so that nobody's
    /// file can hold this up at its last step.
    pub fn of(path: &Path, links: Links) -> io::Result<Self> {
        let stay = if links == Links::Stay { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | stay;
        let found = statx(CWD, path, flags, StatxFlags::BASIC_STATS)?;
        let device = (found.stx_dev_major, found.stx_dev_minor);
        Ok(Self { device, inode: found.stx_ino, owner: found.stx_uid, mode: found.stx_mode })
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.mode.into()).is_symlink()
    }

    /// Whether both are on one file system.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.device == other.device
    }

    /// Whether this is the same file, whatever has become of its owner and permissions.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Hands `fd` to the program that `command` starts, as its descriptor 3: where a shim of the Go runtime looks
/// for a socket that listens already (containerd pkg/shim/shim_unix.go, `serveListener`).
#[allow(unsafe_code)]
pub fn pass_as_fd3(command: &mut std::process::Command, fd: OwnedFd) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes one call, which is async-signal-safe, gets descriptors that are
    // open, and allocates nothing. No library offers that: 3 is nobody's before this, and what runs before an exec is
    // unsafe by its nature. A dup2 onto itself would leave close-on-exec set.
    unsafe {
        command.pre_exec(move || {
            let raw = fd.as_raw_fd();
            let result = if raw == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(raw, 3) };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    };
}

fn interest(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// One poll(2).
fn poll(fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize, Errno> {
    // What is longer than a Timespec can be is as good as without an end.
    rustix::event::poll(fds, Timespec::try_from(timeout).ok().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    use crate::testing::without_descriptors;

    #[test]
    fn a_zombie_is_dead_and_signalling_it_is_no_error() {
        let mut child = Command::new("true").spawn().unwrap();
        let fd = PidFd::of(child.id() as i32).unwrap();
        assert!(fd.wait(Instant::now() + Duration::from_secs(5)));
        fd.send(Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        fd.send(Signal::SIGKILL).unwrap();
        assert!(fd.is_dead());
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_a_stopped_process_dies_of_sigkill() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let fd = PidFd::of(child.id() as i32).unwrap();
        fd.send(Signal::SIGSTOP).unwrap();
        let start = Instant::now();
        assert!(!fd.wait(start + Duration::from_millis(60)));
        assert!(start.elapsed() >= Duration::from_millis(60));
        fd.send(Signal::SIGKILL).unwrap();
        assert!(wait_all([&fd], Instant::now() + Duration::from_secs(5)));
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_waited_for_with_and_without_a_descriptor() {
        let sleeper = |time: &str| Command::new("sleep").arg(time).spawn().unwrap();
        let within = |limit| Instant::now() + Duration::from_millis(limit);
        for wait in [wait_child, |child: &mut _, until| without_descriptors(|| wait_child(child, until))] {
            assert!(wait(&mut sleeper("0.2"), within(9000)).unwrap().unwrap().success());
            let (mut child, begun) = (sleeper("60"), Instant::now());
            assert!(wait(&mut child, within(100)).unwrap().is_none());
            assert!((100..5000).contains(&begun.elapsed().as_millis()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn this_kernel_has_pidfds() {
        assert!(pidfd_supported());
    }
}
