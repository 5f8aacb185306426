//! All that is known of one sandbox, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use runsc_guard_node::bundle::Record;
use runsc_guard_node::params;
use runsc_guard_node::paths::Place;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::processes::proof;
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::resources::spec;
use runsc_guard_sandbox::resources::state_file::RunscState;
use runsc_guard_sandbox::sys::{bounded, procfs};

use super::draft::Draft;
use super::guards::Known;
use super::labels;
use super::table::{Kind, Table};
use crate::survey::model::{Container, Found, Guard, Task};

/// SIGKILL in a mask of signals.
const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);

/// What there is of this sandbox. The guard has still to be heard.
pub(crate) fn assemble(draft: &Draft, table: &Table, guards: &[Known]) -> Found {
    let state = RunscState::read(&draft.root, &draft.id, &draft.id).ok();
    let containers = containers(draft, state.as_ref());
    let bundle = containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let (guard, place) = guard(draft, &bundle, table, guards);
    // A row of what nothing proves is a warning; beside what is proved it is nothing.
    let unproved = draft.proved.is_empty() && !draft.recorded && place.is_none();
    let claims = if unproved { &draft.claimants } else { &draft.proved };
    let real_shims = real_shims(draft, claims, &guard, table);
    let tasks = claims.iter().filter_map(|(pid, role)| table.task(*pid, role.clone()));
    let (mut sentries, others): (Vec<Task>, Vec<Task>) = tasks.partition(|task| task.role == Role::Sentry);
    // Whom runsc's file names comes first.
    sentries.sort_by_key(|task| !draft.named.iter().any(|named| named.is(task.identity)));
    let sentry = sentries.into_iter().next();
    let runsc = sentry.as_ref().and_then(|sentry| runsc_of(sentry.identity.pid));
    let heads = [&sentry].into_iter().flatten().chain(&others).chain(&real_shims).chain(guard.task());
    let heads: Vec<i32> = heads.map(|task| task.identity.pid).collect();
    let namespace = draft.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Found {
        answers: false,
        pod: spec::pod(&bundle),
        killed: sentry.as_ref().is_some_and(is_killed),
        proved: !unproved,
        version: state.as_ref().and_then(RunscState::version),
        runsc,
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
            let process = params::guard_of(&place, record.guard);
            let task = process.and_then(|guard| table.task(guard.pid, Role::Other));
            let why = "its params.json cannot be read; it may be of another version";
            (task.map_or(Guard::Dead, |task| Guard::Silent(task, why.to_owned())), Some(place))
        }
        None => (Guard::None, None),
    }
}

/// gVisor's own command, as a file of root's that may be run: the very program of the sentry, or what that lies beside.
fn runsc_of(sentry: i32) -> Option<PathBuf> {
    let ground = Ground::look();
    let program = proof::program_path(sentry, &ground)?.path;
    if proof::SENTRIES.iter().any(|sentry| program.ends_with(sentry)) {
        return Some(ground.resolve(&program.parent()?.parent()?.join("runsc"))?.path);
    }
    Some(program)
}

/// The shims above it, and those of its other containers: root runs each for a container that it says. gVisor's own
/// keep whatever is below them.
fn real_shims(draft: &Draft, of: &BTreeMap<i32, Role>, guard: &Guard, table: &Table) -> Vec<Task> {
    let namespace = draft.root.file_name().unwrap_or_default().to_string_lossy();
    let above = of.keys().flat_map(|pid| table.ancestors(*pid));
    let serves = |pid: &i32| match table.kind(*pid) {
        Some(Kind::Shim { id, gvisors, .. }) => *gvisors || draft.members.contains_key(id),
        _ => false,
    };
    let named = draft.members.keys().flat_map(|id| table.shims_of(&namespace, id));
    let pids: BTreeSet<i32> = above.filter(serves).chain(named).collect();
    let is_guard = |task: &Task| guard.task().is_some_and(|guard| guard.identity == task.identity);
    let tasks = pids.into_iter().filter_map(|pid| table.task(pid, Role::RealShim));
    tasks.filter(|task| !is_guard(task)).collect()
}

/// containerd removes a bundle only after a Delete, or when it cannot load what is in it. Looked at as the guard sees it,
/// which has containerd's mounts.
fn is_forgotten(guard: i32, containers: &[Container]) -> bool {
    let root = procfs::dir(guard).join("root");
    let bundles: Vec<PathBuf> = containers.iter().map(|one| one.bundle.clone()).collect();
    // On mounts that only the guard may see, and one of them may hang.
    let look = move || {
        let gone = |bundle: &PathBuf| {
            // What containerd wrote there: the folder itself is made anew by runsc, for its log.
            let bundle = bundle.join("config.json");
            let bundle = bundle.strip_prefix("/").map(|bundle| root.join(bundle).symlink_metadata());
            matches!(bundle, Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound)
        };
        !bundles.is_empty() && root.join("proc").exists() && bundles.iter().all(gone)
    };
    bounded::ask(guard, look).unwrap_or(false)
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
