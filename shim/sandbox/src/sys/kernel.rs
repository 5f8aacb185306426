//! The system calls that neither `std` nor `nix` offers, and the only unsafe code of this crate.
//!
//! A pidfd names one process for ever: a signal sent through it reaches that process or nobody, and it
//! becomes readable when the *whole* process has exited, reaped or not. A bare pid offers neither, so nothing
//! here takes one to send a signal to.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// A process, dead or alive, that cannot be mistaken for another one.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens whatever process has `pid` now. To be sure which process that is, use
    /// [`Identity::open`](crate::sys::identity::Identity::open).
    pub fn of(pid: i32) -> io::Result<Self> {
        // SAFETY: two integers go in, and what comes out is a new descriptor that nobody else owns.
        descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(Self)
    }

    /// Sends a signal. A process that is gone by now is no error: there is nothing left to signal.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let info: *const libc::siginfo_t = std::ptr::null();
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open; a null siginfo asks the kernel to fill in what kill(2) would.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, info, 0) };
        match checked(result) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map(drop),
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
    // SAFETY: three integers; who 0 is the calling thread. A refusal only means that it stays as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
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
    let mut waiting: Vec<libc::pollfd> = processes.into_iter().map(|p| interest(p.as_raw_fd())).collect();
    while !waiting.is_empty() {
        let now = Instant::now();
        match poll(&mut waiting, deadline.saturating_duration_since(now)) {
            Ok(_) => waiting.retain(|one| one.revents == 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if now >= deadline {
            break;
        }
    }
    waiting.is_empty()
}

/// Waits until `fd` can be read or its other end is closed; false if `deadline` comes first.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    let mut one = [interest(fd.as_raw_fd())];
    loop {
        match poll(&mut one, deadline.saturating_duration_since(Instant::now())) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|ready| ready > 0),
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
    const CLOEXEC: libc::c_uint = 1; // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
    const CMD_CREATE: libc::c_uint = 6; // FSCONFIG_CMD_CREATE
    let nothing: *const libc::c_char = std::ptr::null();
    // SAFETY: the name is a C string that outlives the call.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    let raw = context.as_raw_fd();
    // SAFETY: the descriptor is open; this command takes neither key nor value.
    checked(unsafe { libc::syscall(libc::SYS_fsconfig, raw, CMD_CREATE, nothing, nothing, 0) })?;
    // SAFETY: the descriptor is open, and the rest are integers.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, raw, CLOEXEC, 0) })
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
        let path = CString::new(path.as_os_str().as_bytes())?;
        let stay = if links == Links::Stay { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
        let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT | stay;
        let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
        // SAFETY: the path is a C string and the buffer is as large as the kernel's structure; both outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_statx,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
                libc::STATX_BASIC_STATS,
                found.as_mut_ptr(),
            )
        };
        checked(result)?;
        // SAFETY: all of it was zero, and the kernel has filled it in.
        let found = unsafe { found.assume_init() };
        let device = (found.stx_dev_major, found.stx_dev_minor);
        Ok(Self { device, inode: found.stx_ino, owner: found.stx_uid, mode: found.stx_mode })
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        u32::from(self.mode) & libc::S_IFMT == libc::S_IFLNK
    }

    /// Whether this is the same file, whatever has become of its owner and permissions.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The new descriptor that a system call has returned.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(checked(result)?).map_err(io::Error::other)?;
    // SAFETY: only called with what a system call that opens something has just returned, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Hands `fd` to the program that `command` starts, as its descriptor 3: where a shim of the Go runtime looks
/// for a socket that listens already (containerd pkg/shim/shim_unix.go, `serveListener`).
pub fn pass_as_fd3(command: &mut std::process::Command, fd: OwnedFd) {
    use std::os::unix::process::CommandExt;
    let pass = move || {
        let raw = fd.as_raw_fd();
        // SAFETY: dup2 and fcntl are async-signal-safe and get descriptors that are open. A dup2 onto itself
        // would leave close-on-exec set.
        let result = unsafe { if raw == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(raw, 3) } };
        checked(libc::c_long::from(result)).map(drop)
    };
    // SAFETY: between fork and exec the closure makes one async-signal-safe call and allocates nothing.
    unsafe { command.pre_exec(pass) };
}

fn interest(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// One poll(2), rounded up to the next millisecond so that a wait never spins at its end.
fn poll(fds: &mut [libc::pollfd], timeout: Duration) -> io::Result<usize> {
    let milliseconds = timeout.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
    let count = fds.len() as libc::nfds_t;
    // SAFETY: pointer and length are those of one live slice, which the kernel only writes `revents` of.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), count, milliseconds) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

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
    fn this_kernel_has_pidfds() {
        assert!(pidfd_supported());
    }
}
