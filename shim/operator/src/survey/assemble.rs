//! All that is known of one sandbox, put together.

use std::collections::BTreeSet;
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
use runsc_guard_sandbox::sys::kernel::{FileId, Links};
use runsc_guard_sandbox::sys::{bounded, procfs};

use super::draft::Draft;
use super::guards::Known;
use super::keepers::Keepers;
use super::labels;
use super::scope::{may_listen, socket_of};
use super::table::{Kind, Table};
use crate::survey::model::{Container, Found, Guard, Task};

/// SIGKILL in a mask of signals.
const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);

/// What there is of this sandbox. The guard has still to be heard.
pub(crate) fn assemble(draft: &Draft, table: &Table) -> Found {
    let state = RunscState::read(&draft.root, &draft.id, &draft.id).ok();
    let containers = containers(draft, state.as_ref());
    let bundle = containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let (mut guard, place) = guard(draft, &containers, table);
    // A row of what nothing proves is a warning; beside what is proved it is nothing.
    let unproved = draft.proved.is_empty() && !draft.recorded && place.is_none();
    let claims = if unproved { &draft.claimants } else { &draft.proved };
    let above = table.above(claims.keys());
    let keepers = Keepers::of(draft, &above, &containers, (&guard, place.as_ref()), table);
    let real_shims = keepers.proved;
    // Where others keep it, one that only says so keeps another.
    let unplaced = if real_shims.is_empty() && guard == Guard::None { keepers.unplaced } else { Vec::new() };
    let is_shimless = real_shims.is_empty() && unplaced.is_empty();
    if let Some(why) = belied(&guard, place.as_ref(), is_shimless, &containers, &above, table) {
        guard = Guard::Unknown(why);
    }
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
        unplaced,
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

fn guard(draft: &Draft, containers: &[Container], table: &Table) -> (Guard, Option<Place>) {
    let bundle = containers.first().map(|root| root.bundle.as_path()).unwrap_or(Path::new(""));
    let above = table.above(draft.proved.keys());
    let is_above = |known: &&Known| known.process.is_some_and(|guard| above.contains(&guard.pid));
    // Two containerds may have the same root and id: runsc refuses the second, whose guard's folder is there all the same.
    let known = draft.guards.iter().find(is_above).or_else(|| {
        draft
            .guards
            .iter()
            .find(|known| !is_anothers(&known.params.container, &known.params.bundle, containers))
    });
    if let Some(known) = known {
        if let Some(why) = &known.untold {
            return (Guard::Unknown(why.clone()), Some(known.params.place.clone()));
        }
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
            let why = "its params.json cannot be read; it may be of another version";
            let process = params::guard_of(&place, record.guard);
            let task = process.map(|process| process.and_then(|guard| table.task(guard.pid, Role::Other)));
            let guard = match task {
                Ok(Some(task)) => Guard::Silent(task, why.to_owned()),
                Ok(None) => Guard::Dead,
                Err(error) => Guard::Unknown(format!("{} cannot be read: {error}", place.guard().display())),
            };
            (guard, Some(place))
        }
        None => (Guard::None, None),
    }
}

/// Whether the container of this id has a bundle, and it is not this one.
fn is_anothers(container: &str, bundle: &Path, containers: &[Container]) -> bool {
    let of = |path: &Path| FileId::of(path, Links::Follow).ok();
    let own = containers.iter().find(|one| one.id == container).and_then(|one| of(&one.bundle));
    own.is_some_and(|own| !of(bundle).is_some_and(|bundle| bundle.is_same(&own)))
}

/// Why a sandbox whose keeper is not seen may have one all the same: a guard is above it, or somebody listens where its
/// guard or shim does. So it is where the guards' folder is another one here than there, or processes are in a pid
/// namespace that is not seen.
fn belied(
    guard: &Guard,
    place: Option<&Place>,
    is_shimless: bool,
    containers: &[Container],
    above: &BTreeSet<i32>,
    table: &Table,
) -> Option<String> {
    if !matches!(guard, Guard::None | Guard::Dead) {
        return None;
    }
    if let Some(pid) = above.iter().find(|pid| table.kind(**pid) == Some(&Kind::Guard)) {
        return Some(format!(
            "guard {pid} is above it, whose files are not seen from here; see runsc-guard --host={pid} ls"
        ));
    }
    let guards = place.map(|place| place.socket.clone());
    let shims = containers.iter().filter(|_| place.is_none() && is_shimless).filter_map(socket_of);
    let heard = guards.into_iter().chain(shims).find(|socket| may_listen(socket))?;
    Some(format!(
        "somebody listens at {}, and no such process is seen; run this in the node's pid namespace (in a pod: \
         hostPID: true)",
        heard.display()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_with_another_bundle_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let [own, other, link] = ["own", "other", "link"].map(|name| folder.path().join(name));
        fs::create_dir(&own).unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let containers = [Container { id: "web".into(), bundle: own.clone() }];
        assert!(!is_anothers("web", &own, &containers) && !is_anothers("web", &link, &containers));
        assert!(is_anothers("web", &other, &containers), "whose bundle may be gone");
        assert!(!is_anothers("member", &other, &containers), "nothing is known of it");
        fs::remove_dir(&own).unwrap();
        assert!(!is_anothers("web", &other, &containers), "nothing is there to compare it with");
    }
}
