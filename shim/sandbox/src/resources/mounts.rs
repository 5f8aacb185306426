//! Mounts: what /proc says of them, and getting rid of a bundle's.
//!
//! umount(2) can hang forever (a dead FUSE or NFS server), so each call runs in a thread of its own that is
//! given up at the deadline. A lazy unmount always returns, but only hides the mount: who still holds it keeps
//! the file system busy, so it is remembered by its id until nobody does.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use crate::sys::identity::Identity;
use crate::sys::{bounded, procfs};

/// How long a busy mount is tried again before it is detached: the last process's exit takes a moment.
const BUSY: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(10);
/// One umount2 needs little stack.
const STACK: usize = 64 * 1024;

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's id, as `mnt_id` in fdinfo.
    pub id: u64,
    /// Its device, `major:minor`.
    pub device: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// `overlay`, `fuse.x`, ...
    pub kind: String,
    /// What is mounted.
    pub source: String,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.point.display(), self.kind, self.source)
    }
}

impl Mount {
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let device = String::from_utf8_lossy(fields.nth(1)?).into_owned();
        let point = PathBuf::from(unescape(fields.nth(1)?));
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = String::from_utf8_lossy(rest.next()?).into_owned();
        let source = unescape(rest.next().unwrap_or_default()).to_string_lossy().into_owned();
        Some(Self { id, device, point, kind, source })
    }
}

/// The mounts that a process sees, in the order in which they were made.
pub(crate) fn seen_by(pid: &str) -> io::Result<Vec<Mount>> {
    let text = procfs::read_file(&Path::new("/proc").join(pid).join("mountinfo"))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect())
}

/// This thread: it may work in another mount namespace than the rest of the process.
pub(crate) const ME: &str = "thread-self";

/// What is mounted at or below a folder, as this thread sees it.
pub fn below(folder: &Path) -> Vec<Mount> {
    let all = seen_by(ME).unwrap_or_default();
    all.into_iter().filter(|mount| folder.is_absolute() && mount.point.starts_with(folder)).collect()
}

/// Blanks and backslashes are written as octal numbers.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code =
            tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

/// Unmounts all that is at or below `folder`, last mounted first. Gives the mounts that had to be detached, or
/// that are still there.
pub(crate) fn unmount_below(folder: &Path, deadline: Instant) -> Vec<Mount> {
    let mounts = below(folder);
    let plainly_until = deadline.min(Instant::now() + BUSY);
    // A mount that hangs may be on the path to the next one, so the first failure ends the polite part.
    let polite = mounts.iter().rev().all(|mount| unmount(&mount.point, MntFlags::empty(), plainly_until));
    if polite {
        return Vec::new();
    }
    let left = below(folder);
    // Detaching the outermost takes all below it along, without walking through it.
    for mount in &left {
        unmount(&mount.point, MntFlags::MNT_DETACH, deadline.max(Instant::now() + BUSY));
    }
    left
}

/// One umount2, as long as it takes or until `deadline`; true if there is no such mount any more.
fn unmount(point: &Path, how: MntFlags, deadline: Instant) -> bool {
    let (done, result) = mpsc::channel();
    let path = point.to_owned();
    let worker = thread::Builder::new().name("umount".into()).stack_size(STACK).spawn(move || {
        let flags = how | MntFlags::UMOUNT_NOFOLLOW;
        loop {
            match umount2(&path, flags) {
                Err(nix::Error::EBUSY) if Instant::now() < deadline => thread::sleep(RETRY),
                last => return done.send(last).unwrap_or_default(),
            }
        }
    });
    if worker.is_err() && how.contains(MntFlags::MNT_DETACH) {
        // No thread can be made, and this returns.
        let _ = umount2(point, how | MntFlags::UMOUNT_NOFOLLOW);
        return !below(point).iter().any(|mount| mount.point == point);
    }
    let patience = deadline.saturating_duration_since(Instant::now()) + RETRY;
    match worker.map(|_| result.recv_timeout(patience)) {
        Ok(Ok(Ok(()) | Err(nix::Error::ENOENT))) => true,
        // "Not a mount point" is success only if mountinfo agrees.
        Ok(Ok(Err(nix::Error::EINVAL))) => !below(point).iter().any(|mount| mount.point == point),
        _ => false,
    }
}

/// Who keeps a detached mount alive: by an open file, as working folder or as root.
pub(crate) fn holders(id: u64) -> Vec<Identity> {
    let pids = procfs::all().unwrap_or_default();
    let holds = |pid: &i32| bounded::mounts_held(*pid).is_ok_and(|held| held.contains(&id));
    pids.into_iter().filter(holds).filter_map(|pid| Identity::of(pid).ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
