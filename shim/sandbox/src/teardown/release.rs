//! Step 4: giving back what a dead sandbox held.
//!
//! `runsc delete` is never asked: it kills the stored pid unchecked, waits for whom it killed and calls into the
//! sentry. Never touched are `null-netns`, which all sandboxes share, network namespaces that CNI owns, and
//! cgroups that runsc did not make.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::processes::find;
use crate::resources::cgroup;
use crate::resources::fuse;
use crate::resources::held::Resources;
use crate::resources::mounts;
use crate::scope::{PARAMS, Scope};
use crate::sys::file;
use crate::teardown::leftover::Leftover;

/// A filestore's folder may be on a file system that hangs.
const FILESTORES: Duration = Duration::from_millis(200);

/// Releases these resources; gives what could not be released. What is gone already is released.
pub fn release(scope: &Scope, resources: &mut Resources, deadline: Instant) -> Vec<Leftover> {
    resources.add_strays(scope);
    // Before the mounts: the next Create of this id in the same rootfs would fail over an old filestore.
    let mut filestores = Filestores::remove(&resources.filestores);
    filestores.wait(deadline.min(Instant::now() + FILESTORES));
    release_mounts(resources, deadline);
    let mut left = mounts_left(resources);
    left.extend(remove_cgroups(scope, &resources.cgroups, deadline));
    let files = resources.files.iter().filter(|path| !remove_file(path));
    left.extend(files.cloned().map(Leftover::File));
    // What failed may have lain in a mount that is gone by now, or under one whose snapshot was just removed.
    if filestores.wait(deadline) == Ended::WithErrors {
        filestores = Filestores::remove(&filestores.left.into_iter().collect::<Vec<_>>());
        filestores.wait(deadline);
    }
    left.extend(filestores.left.into_iter().map(Leftover::File));
    // Who comes after this one, to try again, finds there what to look for.
    let folder =
        private_folder(scope, resources).filter(|folder| left.is_empty() && remove_folder(folder).is_err());
    left.extend(folder.map(|folder| Leftover::File(folder.to_owned())));
    left
}

/// Takes the bundles' mounts out of sight, lazily where they are held: what was detached counts as left for as
/// long as it is.
pub fn release_mounts(resources: &mut Resources, deadline: Instant) {
    for member in &resources.members {
        let detached = mounts::unmount_below(&member.bundle.join("rootfs"), deadline);
        resources.detached.extend(detached.into_iter().map(|mount| (mount.id, mount.point)));
    }
}

/// The mounts still in sight, and the detached ones that somebody holds.
pub(crate) fn mounts_left(resources: &Resources) -> Vec<Leftover> {
    let seen = resources.mounts().into_iter();
    let as_leftover = |mount: mounts::Mount| {
        let mounts::Mount { point, kind, source, .. } = mount;
        Leftover::Mount { point, kind, source }
    };
    let held = resources.detached.iter().filter_map(|(id, point)| {
        let holders = mounts::holders(*id);
        (!holders.is_empty()).then(|| Leftover::DetachedMount { point: point.clone(), holders })
    });
    seen.map(as_leftover).chain(held).collect()
}

/// The guard's private folder, if it is to go: not while the real shim serves in it or the guard, which removes
/// it at its own end, can be found by what lies there.
pub(crate) fn private_folder<'a>(scope: &'a Scope, resources: &Resources) -> Option<&'a Path> {
    let lived_in = [scope.real_shim, scope.guard].into_iter().flatten().any(|one| one.is_alive());
    (resources.whole && !lived_in && scope.folder.is_absolute()).then_some(&scope.folder)
}

fn remove_cgroups(scope: &Scope, cgroups: &[PathBuf], deadline: Instant) -> Vec<Leftover> {
    if cgroups.iter().all(|folder| !folder.exists()) {
        return Vec::new();
    }
    let ours: BTreeSet<i32> = find::find(scope).iter().map(|process| process.identity.pid).collect();
    let left = cgroups.iter().filter(|folder| !cgroup::remove(folder, &ours, deadline));
    left.cloned().map(Leftover::Cgroup).collect()
}

/// Filestores that are being removed, in a thread of its own: their file system may hang, or be busy.
struct Filestores {
    /// Those that it has not come to, or that are not touched because their file system is known to hang.
    left: BTreeSet<PathBuf>,
    removed: mpsc::Receiver<PathBuf>,
}

impl Filestores {
    fn remove(filestores: &[PathBuf]) -> Self {
        let (done, removed) = mpsc::channel();
        let mounts =
            if filestores.is_empty() { Vec::new() } else { mounts::seen_by(mounts::ME).unwrap_or_default() };
        let paths: Vec<PathBuf> =
            filestores.iter().filter(|path| !fuse::hangs(path, &mounts)).cloned().collect();
        let work = move || {
            for path in paths {
                match remove_filestore(&path) {
                    Ok(()) => done.send(path).unwrap_or_default(),
                    Err(error) => log::warn!("guard: {}: {error}", path.display()),
                }
            }
        };
        let left: BTreeSet<PathBuf> = filestores.iter().cloned().collect();
        if !left.is_empty() {
            // Without a thread they stay, and are told.
            let _ = thread::Builder::new().name("filestores".into()).spawn(work);
        }
        Self { left, removed }
    }

    /// Until all are removed, or the thread has done what it can.
    fn wait(&mut self, deadline: Instant) -> Ended {
        while !self.left.is_empty() {
            match self.removed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(path) => self.left.remove(&path),
                Err(RecvTimeoutError::Disconnected) => return Ended::WithErrors,
                Err(RecvTimeoutError::Timeout) => return Ended::NotYet,
            };
        }
        Ended::Well
    }
}

/// How far the removal of the filestores has come.
#[derive(PartialEq, Eq)]
enum Ended {
    /// All are gone.
    Well,
    /// All were tried, some could not be removed.
    WithErrors,
    /// It may hang.
    NotYet,
}

/// The folder is a mount's source, which a pod's author may fill: no link is followed, and only a regular file
/// of the exact name is removed.
fn remove_filestore(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let folder = match file::name(folder, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
        // Not a folder, or none: runsc puts no filestore there. Or a FUSE server is gone, and all that was in it: of a
        // connection that was aborted the top folder can still be opened.
        Err(error) if is_no_folder(&error) => return Ok(()),
        other => other?,
    };
    match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() => {
            Ok(unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir)?)
        }
        Ok(_) | Err(nix::Error::ENOENT | nix::Error::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENOTCONN))
}

/// True if nothing of that name is left.
fn remove_file(path: &Path) -> bool {
    unless_gone(fs::remove_file(path)).is_ok()
}

/// Removes the guard's private folder and what is in it: sockets, FIFOs, files, and what the real shim, whose working
/// folder it is, may have made there. Only one that is certainly ours: private to this user, and nothing mounted in it.
/// What the guard was told goes last: by that, what is left of the folder can still be understood.
///
/// # Errors
///
/// What is not ours or cannot be removed stays; that nothing is there is none.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(meta) if is_private(&meta) => {}
        Ok(_) => return Err(io::Error::other("it is no folder that only its owner may enter")),
        Err(error) => return unless_gone(Err(error)),
    }
    if !mounts::below(folder).is_empty() {
        return Err(io::Error::other("something is mounted in it"));
    }
    for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.file_name() != PARAMS) {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        unless_gone(if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) })?;
    }
    unless_gone(fs::remove_dir_all(folder))
}

fn is_private(meta: &Metadata) -> bool {
    meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests;
