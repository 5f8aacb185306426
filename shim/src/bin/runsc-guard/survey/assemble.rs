//! All that is known of one sandbox, put together.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shim::bundle::Record;
use shim::launch;
use shim::place::Place;
use shim::sandbox::process::Role;
use shim::sandbox::procfs;
use shim::sandbox::state_file::RunscState;

use super::Draft;
use super::guards::Known;
use super::labels;
use super::table::{Kind, Table};
use crate::model::{Container, Found, Guard, Task};

/// SIGKILL in a mask of signals.
const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);

/// What there is of this sandbox. The guard has still to be heard.
pub(crate) fn assemble(draft: &Draft, table: &Table, guards: &[Known]) -> Found {
    let state = RunscState::read(&draft.root, &draft.id, &draft.id).ok();
    let containers = containers(draft, state.as_ref());
    let bundle = containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let (guard, place) = guard(draft, &bundle, table, guards);
    let claims: Vec<Task> = draft.pids.iter().filter_map(|pid| claimed(table, *pid)).collect();
    let (sentries, others): (Vec<Task>, Vec<Task>) =
        claims.into_iter().partition(|task| task.role == Role::Sentry);
    let sentry = sentries.into_iter().next();
    let real_shims = real_shims(draft, &guard, table);
    let heads = [&sentry].into_iter().flatten().chain(&others).chain(&real_shims).chain(guard.task());
    let heads: Vec<i32> = heads.map(|task| task.identity.pid).collect();
    let namespace = draft.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Found {
        pod: labels::pod(&bundle),
        killed: sentry.as_ref().is_some_and(is_killed),
        proved: place.is_some() || !real_shims.is_empty() || draft.recorded && is_ours(&draft.root),
        managed: place.is_some() || labels::is_managed(&bundle),
        forgotten: guard.task().is_some_and(|guard| is_forgotten(guard.identity.pid, &containers)),
        status: state.map(|state| state.status),
        pids: table.closure(heads.iter().copied()).len(),
        rss_bytes: heads.iter().filter_map(|pid| procfs::resident(*pid)).sum(),
        namespace,
        id: draft.id.clone(),
        runsc_root: draft.root.clone(),
        containers,
        guard,
        place,
        real_shims,
        sentry,
        others,
    }
}

/// The root container first.
fn containers(draft: &Draft, root: Option<&RunscState>) -> Vec<Container> {
    let bundle = |id: &str, known: &Option<PathBuf>| {
        let recorded = || {
            let state = RunscState::read(&draft.root, id, &draft.id);
            state.map(|state| state.bundle_dir).unwrap_or_default()
        };
        let of_root = root.filter(|_| id == draft.id).map(|state| state.bundle_dir.clone());
        of_root.or(known.clone()).unwrap_or_else(recorded)
    };
    let container =
        |(id, known): (&String, &Option<PathBuf>)| Container { id: id.clone(), bundle: bundle(id, known) };
    let mut containers: Vec<Container> = draft.members.iter().map(container).collect();
    containers.sort_by_key(|one| one.id != draft.id);
    containers
}

fn guard(draft: &Draft, bundle: &Path, table: &Table, guards: &[Known]) -> (Guard, Option<Place>) {
    let known = guards
        .iter()
        .find(|known| known.params.sandbox == draft.id && known.params.runsc_root() == draft.root);
    if let Some(known) = known {
        let task = known.process.and_then(|guard| table.task(guard.pid, Role::Other));
        let task = task.filter(|task| Some(task.identity) == known.process);
        let guard = task.map_or(Guard::Dead, |task| Guard::Silent(task, String::new()));
        return (guard, Some(known.params.place.clone()));
    }
    // What its folder says is gone or cannot be read, its record can.
    match Record::load(bundle).filter(|record| record.sandbox == draft.id && !record.is_released()) {
        Some(record) => {
            let lock = record.folder.with_extension("lock");
            let place = Place { socket: record.socket, folder: record.folder, lock };
            let process = launch::guard_of(&place, record.guard);
            let task = process.and_then(|guard| table.task(guard.pid, Role::Other));
            let why = "what it was told cannot be read; it may be of another version";
            (task.map_or(Guard::Dead, |task| Guard::Silent(task, why.to_owned())), Some(place))
        }
        None => (Guard::None, None),
    }
}

fn claimed(table: &Table, pid: i32) -> Option<Task> {
    match table.kind(pid) {
        Some(Kind::Claims(claim)) => table.task(pid, claim.role.clone()),
        _ => None,
    }
}

/// The shims above it, and those of its other containers: each says by its command line which container it was
/// started for, and runs as root.
fn real_shims(draft: &Draft, guard: &Guard, table: &Table) -> Vec<Task> {
    let namespace = draft.root.file_name().unwrap_or_default().to_string_lossy();
    let above = draft.pids.iter().flat_map(|pid| table.ancestors(*pid));
    let serves =
        |pid: &i32| matches!(table.kind(*pid), Some(Kind::Shim { id, .. }) if draft.members.contains_key(id));
    let named = draft.members.keys().flat_map(|id| table.shims_of(&namespace, id));
    let pids: BTreeSet<i32> =
        above.filter(serves).chain(named).filter(|pid| is_ours(&procfs::dir(*pid))).collect();
    let is_guard = |task: &Task| guard.task().is_some_and(|guard| guard.identity == task.identity);
    let tasks = pids.into_iter().filter_map(|pid| table.task(pid, Role::RealShim));
    tasks.filter(|task| !is_guard(task)).collect()
}

/// Made by root, or by whoever asks.
fn is_ours(path: &Path) -> bool {
    let me = nix::unistd::geteuid().as_raw();
    fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 || meta.uid() == me)
}

/// containerd removes a bundle only after a Delete, or when it cannot load what is in it. Looked at as the guard sees it,
/// which has containerd's mounts.
fn is_forgotten(guard: i32, containers: &[Container]) -> bool {
    let root = procfs::dir(guard).join("root");
    let gone = |one: &Container| {
        let bundle = one.bundle.strip_prefix("/").map(|bundle| root.join(bundle).symlink_metadata());
        matches!(bundle, Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound)
    };
    !containers.is_empty() && root.join("proc").exists() && containers.iter().all(gone)
}

/// SIGKILL has been sent and waits: what takes it is gone before this can be read twice.
fn is_killed(sentry: &Task) -> bool {
    match sentry.state {
        // Its first thread is dead, another one is not: that is how a program of many threads dies.
        'Z' => return true,
        'D' => {}
        _ if sentry.frozen.is_some() => {}
        _ => return false,
    }
    let text = fs::read_to_string(procfs::dir(sentry.identity.pid).join("status")).unwrap_or_default();
    let pending = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    ["SigPnd:", "ShdPnd:"].iter().any(|field| pending(field).is_some_and(|mask| mask & SIGKILL != 0))
}
