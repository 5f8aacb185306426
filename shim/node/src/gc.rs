//! What nobody will come back for: the things of a guard that died when containerd had been told its address and had
//! not yet connected. For such a start containerd removes the bundle and runs no `delete` (`core/runtime/v2/binary.go`,
//! `Start`). A guard that leaves looks around for them, when nobody waits for it any more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::lock::Lock;
use crate::params::{self, ServeParams};
use crate::paths::{Place, is_hash};
use crate::recovery;
use runsc_guard_sandbox::PARAMS;
use runsc_guard_sandbox::processes::process::serves;
use runsc_guard_sandbox::processes::proof::{Vantage, works_in};
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::procfs;
use runsc_guard_sandbox::teardown::sequence::Nobody;

/// How long the end of one forsaken sandbox may take.
const CLEANUP: Duration = Duration::from_secs(2);

/// Ends and removes what belongs to dead guards whose containers have no bundle any more, beside `own`.
pub fn sweep(own: &Place) {
    let Some(runtime) = own.folder.parent() else { return };
    for path in fs::read_dir(runtime).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|kind| kind == "lock") && !path.with_extension("").exists() {
            // Of somebody who was killed while holding it: letting it go removes it.
            drop(Lock::take(&path, Instant::now()));
        } else if let Some(params) = told_in(&path, own) {
            end_if_forsaken(&params);
        } else if path.file_name().is_some_and(is_hash) && !path.join(PARAMS).exists() {
            remove_rest(&path);
        }
    }
}

/// A folder whose remover was killed: what the guard was told goes last, and only a `start`, which holds the lock, has
/// a folder without it.
fn remove_rest(folder: &Path) {
    if let Ok(_lock) = Lock::take(&folder.with_extension("lock"), Instant::now())
        && !folder.join(PARAMS).exists()
        && !is_served(folder)
    {
        let _ = fs::remove_dir_all(folder);
    }
}

/// What the dead guard in this folder was told; nothing for the living, with one look.
fn told_in(folder: &Path, own: &Place) -> Option<ServeParams> {
    let place = Place { folder: folder.to_owned(), ..own.clone() };
    if !matches!(params::guard_of(&place, None), Ok(None)) {
        return None;
    }
    ServeParams::of(&place).filter(|params| params.place.folder == folder)
}

fn end_if_forsaken(params: &ServeParams) {
    let ServeParams { place, namespace, sandbox, container, bundle, .. } = params;
    // A `start` or `delete` that holds it has the matter in hand.
    let Ok(_lock) = Lock::take(&place.lock, Instant::now()) else { return };
    let mut record = recovery::reconstruct(place, namespace, sandbox, container, bundle);
    let has_bundle = record.members.iter().any(|member| member.bundle.exists());
    if has_bundle || record.guard.is_some() || is_served(&place.folder) || !place.folder.exists() {
        return;
    }
    let left = recovery::cleanup(&mut record, place, recovery::patience(Instant::now() + CLEANUP), &Nobody);
    let found = "of a guard that died before containerd had connected";
    match left.as_slice() {
        [] => log::warn!("sandbox {sandbox}: the things {found} were removed"),
        left => log::warn!("sandbox {sandbox}: the things {found}: left behind: {}", left.join("; ")),
    }
}

/// Whether a guard serves the pod with this folder, whatever its files say, or may: it does where nobody can be seen.
pub fn is_served(folder: &Path) -> bool {
    let (Ok(pids), vantage) = (procfs::all(), Vantage::new()) else { return true };
    let mut serving = pids.into_iter().filter(|pid| {
        let serves = || bounded::command_line(*pid).is_ok_and(|argv| serves(&argv, folder));
        vantage.may_be_root(*pid) && !works_in(*pid, folder) && serves()
    });
    serving.next().is_some()
}

#[cfg(test)]
mod tests;
