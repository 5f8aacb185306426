//! The cgroups of a sandbox: those that runsc made (and so may be removed), those that hold its processes, and
//! whether they are frozen.
//!
//! A frozen v1 freezer swallows SIGKILL: the process stays in state D, in `refrigerator`, until thawed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::identity::Stat;
use crate::sys::procfs;

/// Where runsc assumes the hierarchies (`runsc/cgroup/cgroup.go`, cgroupRoot).
const ROOT: &str = "/sys/fs/cgroup";
/// Where hosts that have both versions mount the second one.
const HYBRID: &str = "/sys/fs/cgroup/unified";
/// The v1 hierarchies that runsc makes folders in (`controllers` in the same file).
pub(crate) const CONTROLLERS: [&str; 12] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio",
    "pids", "systemd",
];
/// rmdir answers EBUSY for a moment after the last process has died.
const RETRY: Duration = Duration::from_millis(10);

/// The folder of a v1 cgroup; none unless it lies strictly below its controller's root.
pub(crate) fn v1(controller: &str, path: &Path) -> Option<PathBuf> {
    let root = Path::new(ROOT).join(CONTROLLERS.iter().find(|known| **known == controller)?);
    strictly_below(&root, path)
}

/// `path` as a folder of the v2 hierarchy at `mountpoint`; none unless that is one and the path strictly below.
pub(crate) fn v2(mountpoint: &Path, path: &Path) -> Option<PathBuf> {
    let known = [ROOT, HYBRID].iter().any(|root| Path::new(root) == mountpoint);
    if known { strictly_below(mountpoint, path) } else { None }
}

/// Where this host mounts the v2 hierarchy, if it does.
pub(crate) fn unified() -> Option<&'static Path> {
    [HYBRID, ROOT].map(Path::new).into_iter().find(|root| root.join("cgroup.controllers").exists())
}

fn strictly_below(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut whole = root.to_owned();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => whole.push(name),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (whole != root).then_some(whole)
}

/// Every cgroup of a process, in each hierarchy that runsc knows.
pub(crate) fn of(pid: i32) -> Vec<PathBuf> {
    procfs::cgroups(pid).into_iter().flat_map(folders).collect()
}

/// The folders of a line of `/proc/<pid>/cgroup`.
pub(crate) fn folders((controllers, path): (String, PathBuf)) -> Vec<PathBuf> {
    if controllers.is_empty() {
        return unified().and_then(|mountpoint| v2(mountpoint, &path)).into_iter().collect();
    }
    controllers.trim_start_matches("name=").split(',').filter_map(|one| v1(one, &path)).collect()
}

/// The cgroups of a process that can be frozen: of the v1 freezer and of v2.
pub fn freezable(pid: i32) -> Vec<PathBuf> {
    with_controller(pid, "freezer")
}

/// The cgroups of a process that may limit its processor time: of v1's `cpu` and of v2.
pub(crate) fn limiting(pid: i32) -> Vec<PathBuf> {
    with_controller(pid, "cpu")
}

fn with_controller(pid: i32, controller: &str) -> Vec<PathBuf> {
    let folder = |(controllers, path): (String, PathBuf)| match controllers.as_str() {
        "" => v2(unified()?, &path),
        named if named.split(',').any(|one| one == controller) => v1(controller, &path),
        _ => None,
    };
    procfs::cgroups(pid).into_iter().filter_map(folder).collect()
}

/// Whether the processes in a cgroup are (being) frozen, by it or by one above it.
pub fn is_frozen(folder: &Path) -> bool {
    if let Ok(state) = fs::read_to_string(folder.join("freezer.state")) {
        return state.trim() != "THAWED";
    }
    let events = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "frozen 1") || freezes(folder)
}

/// Whether this very cgroup is the one that was told to freeze.
fn freezes(folder: &Path) -> bool {
    let told = |file: &str| fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() == "1");
    told("freezer.self_freezing") || told("cgroup.freeze")
}

/// Thaws what keeps these processes frozen, and gives the folders thawed. A cgroup is touched only if runsc
/// made it for this sandbox or nothing else is in it: a frozen pod's neighbours stay frozen.
pub(crate) fn thaw(ours: &BTreeSet<i32>, own: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let holding: BTreeSet<PathBuf> = ours.iter().flat_map(|pid| freezable(*pid)).collect();
    let allowed = |folder: &Path| own.contains(folder) && is_leaf(folder, own) || holds_only(folder, ours);
    let frozen = holding.iter().filter(|leaf| is_frozen(leaf));
    let told: BTreeSet<&Path> =
        frozen.flat_map(|leaf| leaf.ancestors()).filter(|folder| freezes(folder)).collect();
    let thawed = told.into_iter().filter(|folder| allowed(folder) && thaw_one(folder).is_ok());
    thawed.map(Path::to_owned).collect()
}

/// Kills whole v2 cgroups that runsc made and in which every process is to die (`doomed`): what one of them has forked
/// since it was looked at dies with it. Whoever joins after that look dies, too: hence not one that others may join.
/// Linux 5.14; where there is no `cgroup.kill` the next look finds the rest.
/// Gives the folders killed.
pub(crate) fn kill(doomed: &BTreeSet<i32>, own: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let killed = own.iter().filter(|folder| {
        let switch = folder.join("cgroup.kill");
        is_leaf(folder, own)
            && switch.exists()
            && holds_only(folder, doomed)
            && fs::write(switch, "1").is_ok()
    });
    killed.cloned().collect()
}

/// On v2 runsc's own ones may include a parent that was missing then, and that others share by now. That one is the
/// sandbox's no more than its neighbours'.
fn is_leaf(folder: &Path, own: &BTreeSet<PathBuf>) -> bool {
    !own.iter().any(|other| other != folder && other.starts_with(folder))
}

fn thaw_one(folder: &Path) -> io::Result<()> {
    let state = folder.join("freezer.state");
    if state.exists() { fs::write(state, "THAWED") } else { fs::write(folder.join("cgroup.freeze"), "0") }
}

/// Whether a cgroup and those below it hold some of these processes and no other.
pub(crate) fn holds_only(folder: &Path, ours: &BTreeSet<i32>) -> bool {
    let inside = members(folder);
    !inside.is_empty() && inside.iter().all(|pid| ours.contains(pid))
}

/// The processes in a cgroup and below. One that this pid namespace does not see is 0, and nobody's.
fn members(folder: &Path) -> Vec<i32> {
    let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = procs.split_ascii_whitespace().flat_map(str::parse).collect();
    found.extend(subgroups(folder).iter().flat_map(|sub| members(sub)));
    found
}

fn subgroups(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a cgroup that runsc made. False if it is still there at `deadline` with nobody but dying processes in it; one
/// that somebody else uses by now is left to them, and that is success.
pub(crate) fn remove(folder: &Path, ours: &BTreeSet<i32>, deadline: Instant) -> bool {
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) if in_use(folder, ours) => return true,
            Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY),
            result => return result.is_ok(),
        }
    }
}

/// Whether somebody else's processes or cgroups are in there. Who is about to be dead uses nothing, whosever it was.
pub(crate) fn in_use(folder: &Path, ours: &BTreeSet<i32>) -> bool {
    let is_a_strangers =
        |pid: &i32| !ours.contains(pid) && Stat::of(*pid).is_ok_and(|stat| !stat.is_exiting());
    !subgroups(folder).is_empty() || members(folder).iter().any(is_a_strangers)
}

#[cfg(test)]
mod tests;
