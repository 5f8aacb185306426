//! Which shims keep a sandbox. Namespace and id tell nothing: each containerd of a node may have its own `default/web`, and
//! all that is below a shim dies with the sandbox that it is taken for. So a shim counts that is above a proved process,
//! or that works in the sandbox's own folder: containerd starts each shim in the bundle of its first container, a guard
//! its real shim in the guard's folder.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runsc_guard_node::paths::Place;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::processes::proof;
use runsc_guard_sandbox::sys::kernel::{FileId, Links};
use runsc_guard_sandbox::sys::{bounded, procfs};

use super::draft::Draft;
use super::elsewhere::works_here;
use super::table::{DELETED, Kind, Table};
use crate::survey::model::{Container, Guard, Task};

/// What of containerd's is in each bundle.
const SPEC: &str = "config.json";

/// The real shims of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Keepers {
    /// Those that are proved to be.
    pub(super) proved: Vec<Task>,
    /// Those that say so, and work where this look cannot follow.
    pub(super) unplaced: Vec<i32>,
}

/// Whose shim works in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    This,
    Anothers,
    Unknown,
}

impl Keepers {
    /// Of what is drafted; `above` are those that a process of the sandbox descends from.
    pub(super) fn of(
        draft: &Draft,
        above: &BTreeSet<i32>,
        containers: &[Container],
        guard: (&Guard, Option<&Place>),
        table: &Table,
    ) -> Self {
        let (guard, place) = guard;
        let namespace = draft.root.file_name().unwrap_or_default();
        let bundles = containers.iter().map(|one| one.bundle.clone());
        let folders: Vec<PathBuf> = bundles.chain(place.map(|place| place.folder.clone())).collect();
        let (mut pids, mut unplaced) = (BTreeSet::new(), Vec::new());
        for (pid, kind) in table.kinds() {
            let Kind::Shim { namespace: said, id, gvisors } = kind else { continue };
            let is_named = draft.members.contains_key(id);
            // gVisor's own keep whatever is below them.
            if above.contains(&pid) && (*gvisors || is_named) {
                pids.insert(pid);
            } else if is_named {
                match whose(pid, &folders) {
                    Whose::This => drop(pids.insert(pid)),
                    Whose::Unknown if namespace == said.as_str() => unplaced.push(pid),
                    Whose::Unknown | Whose::Anothers => {}
                }
            }
        }
        let is_guard = |task: &Task| guard.task().is_some_and(|guard| guard.identity == task.identity);
        let tasks = pids.into_iter().filter_map(|pid| table.task(pid, Role::RealShim));
        Self { proved: tasks.filter(|task| !is_guard(task)).collect(), unplaced }
    }
}

/// By the folder itself where it is still there, else by where it was.
fn whose(pid: i32, folders: &[PathBuf]) -> Whose {
    let folders = folders.to_owned();
    let works_in_one = move || {
        folders.iter().any(|folder| proof::works_in(pid, folder)) || removed(pid, &folders).unwrap_or(false)
    };
    match bounded::ask(pid, works_in_one) {
        Ok(true) => Whose::This,
        Ok(false) if works_here(pid) || is_removed_here(pid) => Whose::Anothers,
        _ => Whose::Unknown,
    }
}

/// Whether its working folder was one of these until it was removed. Where containerd has a bundle of that name by now the
/// shim was an earlier one's; on another file system it was another's with the same name, seen from its own mounts.
fn removed(pid: i32, folders: &[PathBuf]) -> Option<bool> {
    let was = removed_folder(pid)?;
    let of = |path: &Path| FileId::of(path, Links::Follow).ok();
    let (cwd, above) = (of(&procfs::dir(pid).join("cwd"))?, of(was.parent()?)?);
    Some(folders.contains(&was) && !was.join(SPEC).exists() && cwd.is_beside(&above))
}

/// Whether its working folder was removed, and is not only out of sight.
fn is_removed_here(pid: i32) -> bool {
    removed_folder(pid).is_some() && proof::Vantage::new().shares_files(pid)
}

/// Where its working folder was; containerd puts a dot before the name of a bundle that it is about to remove.
fn removed_folder(pid: i32) -> Option<PathBuf> {
    let cwd = procfs::working_directory(pid)?;
    let was = Path::new(OsStr::from_bytes(cwd.as_os_str().as_bytes().strip_suffix(DELETED.as_bytes())?));
    let name = was.file_name()?.as_bytes();
    Some(was.with_file_name(OsStr::from_bytes(name.strip_prefix(b".").unwrap_or(name))))
}

#[cfg(test)]
mod tests;
