//! One lock per pod, taken by `start` and `delete`: who joins, replaces or buries a guard does it alone.
//!
//! The file is removed by whoever lets the lock go, so none is left behind. A waiter may therefore have
//! locked a file that is no longer there; it looks again after locking and starts over with the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How often a waiter looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another `start` or `delete` did not finish.
    #[error("another start or delete of this pod has held {} for {waited:?}", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The kernel says no.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock, waiting for it no longer than until `deadline`.
    pub fn take(path: &Path, deadline: Instant) -> Result<Self, LockError> {
        let begun = Instant::now();
        loop {
            let attempt = attempt(path);
            match attempt.map_err(|source| LockError::Io { path: path.to_owned(), source })? {
                Some(file) => return Ok(Self { path: path.to_owned(), _file: file }),
                None if Instant::now() >= deadline => {
                    return Err(LockError::Held { path: path.to_owned(), waited: begun.elapsed() });
                }
                None => sleep(PAUSE),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: nobody else can be between looking and using. If it stays, the next one uses it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the lock file, and makes the folder for it on the node's first start.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let open = || options.open(path);
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()
        }
        (opened, _) => opened,
    }
}

/// Nothing if somebody else has it, or had it a moment ago and removed the file.
fn attempt(path: &Path) -> io::Result<Option<Flock<File>>> {
    let locked = match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => locked,
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let held = locked.metadata()?;
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(locked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn waiting_is_bounded_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.lock");
        let held = Lock::take(&path, Instant::now()).unwrap();
        let begun = Instant::now();
        let error = Lock::take(&path, begun + Duration::from_millis(50)).unwrap_err().to_string();
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert!(error.contains("pod.lock"), "{error}");
        drop(held);
        assert!(!path.exists());
        Lock::take(&path, Instant::now()).unwrap();
    }

    #[test]
    fn a_file_that_a_killed_holder_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.lock");
        fs::write(&path, b"").unwrap();
        Lock::take(&path, Instant::now()).unwrap();
    }

    #[test]
    fn only_one_holds_it_though_each_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.lock");
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let deadline = Instant::now() + Duration::from_secs(30);
                        let lock = Lock::take(&path, deadline).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        drop(lock);
                    }
                });
            }
        });
    }
}
