//! Nothing left behind: what of a host still is, found by everything that carries its tag, and what names one container of it.

use crate::{
    Host, eventually, patience,
    process::Process,
    promised, sockets,
    traces::{entries, file_contains, files_below},
};
use anyhow::{Result, bail};
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What sandboxes and shims of a host hold at one moment. Of a quiet host, all are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Shims, guards, runsc, sentries, gofers, stubs: everything but containerd.
    pub processes: BTreeSet<Process>,
    /// Mount points of rootfs and network namespaces, as containerd sees them while it runs.
    pub mounts: BTreeSet<PathBuf>,
    /// Folders in any cgroup hierarchy, without the pods' own, which belong to who made them.
    pub cgroups: BTreeSet<PathBuf>,
    /// Files under runsc's root: states, locks, sockets.
    pub runsc: BTreeSet<PathBuf>,
    /// Bundles, hidden ones included, of containerd.
    pub bundles: BTreeSet<PathBuf>,
    /// Sockets of shims and guards that are new since `before` and that nobody else listens on.
    pub sockets: BTreeSet<PathBuf>,
    /// Other files under the folders of guards: locks, working folders.
    pub guard_files: BTreeSet<PathBuf>,
}

impl Resources {
    /// What the host holds now.
    pub fn of(host: &Host) -> Self {
        let (sockets, guard_files) = sockets::of(&host.traces(), &host.log());
        Self { sockets, guard_files, ..Self::without_sockets(host) }
    }

    fn without_sockets(host: &Host) -> Self {
        Self {
            processes: host
                .processes()
                .into_iter()
                .filter(|p| p.state != 'Z' && !p.args.first().is_some_and(|arg| arg.ends_with("/containerd")))
                .collect(),
            mounts: mounts(host),
            cgroups: host.traces().cgroups().into_iter().filter(|path| !is_pod_cgroup(host, path)).collect(),
            runsc: files_below(&host.path().join("r"))
                .into_iter()
                .filter(|path| !path.ends_with("null-netns"))
                .collect(),
            bundles: bundles(host),
            ..Self::default()
        }
    }

    /// What is here and was not `before`.
    pub fn since(&self, before: &Self) -> Self {
        fn new<T: Ord + Clone>(now: &BTreeSet<T>, then: &BTreeSet<T>) -> BTreeSet<T> {
            now.difference(then).cloned().collect()
        }
        let known: BTreeSet<_> = before.processes.iter().map(|p| (p.pid, p.started)).collect();
        let here: BTreeSet<i32> = before.processes.iter().map(|p| p.pid).collect();
        Self {
            processes: self
                .processes
                .iter()
                .filter(|p| !known.contains(&(p.pid, p.started)) && !self.is_stub_of(&here, p))
                .cloned()
                .collect(),
            mounts: new(&self.mounts, &before.mounts),
            cgroups: new(&self.cgroups, &before.cgroups),
            runsc: new(&self.runsc, &before.runsc),
            bundles: new(&self.bundles, &before.bundles),
            sockets: new(&self.sockets, &before.sockets),
            guard_files: new(&self.guard_files, &before.guard_files),
        }
    }

    /// Of systrap's stubs a sentry keeps some for the next guest process: more of one that was here are none of anybody
    /// else's. A stub may be another's child.
    fn is_stub_of(&self, here: &BTreeSet<i32>, process: &Process) -> bool {
        let of_stub =
            |p: &Process| p.pid == process.parent && p.pid != process.pid && self.is_stub_of(here, p);
        process.args.is_empty() && (here.contains(&process.parent) || self.processes.iter().any(of_stub))
    }

    /// What names `id`, for a test that runs beside others on one host; sockets and guards' files do not.
    pub fn of_id(host: &Host, id: &str) -> Self {
        Self::without_sockets(host).naming(id)
    }

    /// Only what names `id`.
    pub fn naming(&self, id: &str) -> Self {
        let paths = |set: &BTreeSet<PathBuf>| {
            set.iter().filter(|path| path.to_string_lossy().contains(id)).cloned().collect()
        };
        Self {
            processes: self.processes.iter().filter(|p| names(p, id)).cloned().collect(),
            mounts: paths(&self.mounts),
            cgroups: paths(&self.cgroups),
            runsc: paths(&self.runsc),
            bundles: paths(&self.bundles),
            sockets: BTreeSet::new(),
            guard_files: paths(&self.guard_files),
        }
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for process in &self.processes {
            writeln!(f, "process {process}")?;
        }
        for (kind, paths) in [
            ("mount", &self.mounts),
            ("cgroup", &self.cgroups),
            ("runsc file", &self.runsc),
            ("bundle", &self.bundles),
            ("socket", &self.sockets),
            ("guard file", &self.guard_files),
        ] {
            for path in paths {
                writeln!(f, "{kind} {}", path.display())?;
            }
        }
        Ok(())
    }
}

/// Fails unless, within `limit`, the host holds nothing that it did not hold `before`.
pub fn assert_nothing_left(host: &Host, before: &Resources, limit: Duration) -> Result<()> {
    assert_nothing_left_within(host, before, patience(limit))
}

/// The same where that is promised: nothing stretches the limit.
pub fn assert_nothing_left_within(host: &Host, before: &Resources, limit: Duration) -> Result<()> {
    let mut last = Resources::default();
    let gone = promised(limit, "nothing is left", || {
        last = Resources::of(host).since(before);
        last.is_empty().then_some(())
    });
    match gone {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error}; left:\n{last}"),
    }
}

/// Fails unless, within `limit`, nothing names `id` any more.
pub fn assert_gone(host: &Host, id: &str, limit: Duration) -> Result<()> {
    let mut last = Resources::default();
    let gone = eventually(limit, "nothing names it", || {
        last = Resources::of_id(host, id);
        last.is_empty().then_some(())
    });
    match gone {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error}: {id}; left:\n{last}"),
    }
}

fn names(process: &Process, id: &str) -> bool {
    process.args.iter().any(|arg| arg.contains(id)) || file_contains(process.pid, "cgroup", id)
}

/// Mount points under the host's folder, as its containerd sees them where it runs.
fn mounts(host: &Host) -> BTreeSet<PathBuf> {
    let of = host.containerd().map_or_else(|_| "self".to_owned(), |containerd| containerd.pid.to_string());
    let table = std::fs::read_to_string(format!("/proc/{of}/mountinfo")).unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(host.path()) && !path.ends_with("null-netns"))
        .collect()
}

/// The tag's own folder, and those that [`crate::Cri`] makes for pods as a kubelet would.
fn is_pod_cgroup(host: &Host, path: &Path) -> bool {
    path.ends_with(host.tag())
        || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pod-"))
}

fn bundles(host: &Host) -> BTreeSet<PathBuf> {
    let top = host.path().join("s/io.containerd.runtime.v2.task");
    entries(&top).iter().flat_map(|namespace| entries(namespace)).collect()
}
