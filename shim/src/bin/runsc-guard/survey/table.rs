//! The process table in one pass: one `stat` for each process, and a command line only where it can tell
//! something. The stubs of a sandbox, by far the most of its processes, have none and are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use shim::sandbox::cgroup;
use shim::sandbox::process::{Claim, Role};
use shim::sandbox::procfs::{self, Stat};

use crate::model::Task;

/// The guard's program.
const GUARD: &[u8] = b"containerd-shim-runsc-guard-v2";
/// Children of the kernel's `kthreadd` are no processes.
const KTHREADD: i32 = 2;

/// What a process is to this command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of gVisor's.
    Claims(Claim),
    /// A shim of containerd's kind: namespace and id from its command line.
    Shim {
        /// `-namespace`.
        namespace: String,
        /// `-id`.
        id: String,
    },
    /// A child of a sentry.
    Stub,
    /// containerd, or the first process: they take in orphans.
    Reaper,
    /// Anything else.
    Other,
}

/// Every process of the node.
#[derive(Debug)]
pub(crate) struct Table {
    stats: BTreeMap<i32, Stat>,
    kinds: BTreeMap<i32, Kind>,
    children: BTreeMap<i32, Vec<i32>>,
    uptime: Duration,
}

impl Table {
    /// Reads it; `reading` hears of each process before it is looked at.
    pub(crate) fn read(reading: impl Fn(i32)) -> Self {
        let mut table = Self {
            stats: BTreeMap::new(),
            kinds: BTreeMap::new(),
            children: BTreeMap::new(),
            uptime: procfs::uptime().unwrap_or_default(),
        };
        for pid in procfs::all().unwrap_or_default() {
            reading(pid);
            let Ok(stat) = Stat::of(pid) else { continue };
            if stat.is_dead() || stat.parent == KTHREADD || pid == KTHREADD {
                continue;
            }
            table.children.entry(stat.parent).or_default().push(pid);
            table.stats.insert(pid, stat);
        }
        table.name_all(reading);
        table
    }

    /// From the roots down: what a sentry has started needs no name of its own.
    fn name_all(&mut self, reading: impl Fn(i32)) {
        let is_root = |stat: &&Stat| !self.stats.contains_key(&stat.parent);
        let mut queue: Vec<i32> = self.stats.values().filter(is_root).map(|stat| stat.identity.pid).collect();
        while let Some(pid) = queue.pop() {
            let parent = self.stats.get(&pid).and_then(|stat| self.kinds.get(&stat.parent));
            let of_sentry = match parent {
                Some(Kind::Stub) => true,
                Some(Kind::Claims(claim)) => claim.role == Role::Sentry,
                _ => false,
            };
            reading(pid);
            let kind = if of_sentry { Kind::Stub } else { kind(pid) };
            self.kinds.insert(pid, kind);
            queue.extend(self.children.get(&pid).into_iter().flatten());
        }
    }

    /// Every process of gVisor's, with what it claims.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (i32, &Claim)> {
        self.kinds.iter().filter_map(|(pid, kind)| match kind {
            Kind::Claims(claim) => Some((*pid, claim)),
            _ => None,
        })
    }

    /// What a process is.
    pub(crate) fn kind(&self, pid: i32) -> Option<&Kind> {
        self.kinds.get(&pid)
    }

    /// Its parents, the nearest first.
    pub(crate) fn ancestors(&self, pid: i32) -> impl Iterator<Item = i32> {
        let parent = |pid: &i32| self.stats.get(pid).map(|stat| stat.parent).filter(|parent| *parent > 1);
        // Read one after the other, so pids given away meanwhile could close a circle; no real line is so long.
        std::iter::successors(parent(&pid), move |pid| parent(pid)).take(64)
    }

    /// The shims that say they serve this id.
    pub(crate) fn shims_of<'a>(&'a self, namespace: &'a str, id: &'a str) -> impl Iterator<Item = i32> + 'a {
        self.kinds.iter().filter_map(move |(pid, kind)| match kind {
            Kind::Shim { namespace: ns, id: served } if ns == namespace && served == id => Some(*pid),
            _ => None,
        })
    }

    /// These and all that descend from them.
    pub(crate) fn closure(&self, of: impl IntoIterator<Item = i32>) -> BTreeSet<i32> {
        let mut queue: Vec<i32> = of.into_iter().collect();
        let mut all = BTreeSet::new();
        while let Some(pid) = queue.pop() {
            if all.insert(pid) {
                queue.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        all
    }

    /// As a task with this role.
    pub(crate) fn task(&self, pid: i32, role: Role) -> Option<Task> {
        let stat = self.stats.get(&pid)?;
        let started = Duration::from_millis(stat.identity.start_time.saturating_mul(1000 / procfs::TICKS));
        let age = self.uptime.saturating_sub(started);
        Some(Task {
            identity: stat.identity,
            role,
            state: stat.state,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            frozen: cgroup::freezable(pid).into_iter().find(|folder| cgroup::is_frozen(folder)),
        })
    }
}

fn kind(pid: i32) -> Kind {
    let argv = procfs::command_line(pid).unwrap_or_default();
    kind_of(pid, &argv)
}

fn kind_of(pid: i32, argv: &[OsString]) -> Kind {
    if let Some(claim) = Claim::of(argv) {
        return Kind::Claims(claim);
    }
    let value = |name: &str| {
        let pair = argv.windows(2).find(|pair| pair[0] == name)?;
        pair[1].to_str().map(str::to_owned)
    };
    let program =
        argv.first().map(|one| one.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    match (value("-namespace"), value("-id"), argv.last().and_then(|one| one.to_str())) {
        // These are short commands of containerd's, not servers.
        (Some(_), Some(_), Some("start" | "delete" | "finish")) => Kind::Other,
        // A guard is known by its folder; one that is about to end has none and serves nobody.
        _ if program == Some(GUARD) => Kind::Other,
        (Some(namespace), Some(id), _) => Kind::Shim { namespace, id },
        _ if pid == 1 || program == Some(b"containerd") => Kind::Reaper,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::sandbox::identity::Identity;

    fn kind_of_line(line: &str) -> Kind {
        kind_of(7, &line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn shims_are_known_by_what_containerd_tells_them() {
        let shim = "/usr/bin/containerd-shim-runsc-v1 -namespace k8s.io -address /a.sock -id pod1 -debug";
        let expected = Kind::Shim { namespace: "k8s.io".into(), id: "pod1".into() };
        assert_eq!(kind_of_line(shim), expected);
        assert_eq!(kind_of_line("shim -namespace k8s.io -id pod1 -bundle /b delete"), Kind::Other);
        assert_eq!(kind_of_line("/usr/bin/containerd --config x"), Kind::Reaper);
        assert_eq!(kind_of_line("sleep 1"), Kind::Other);
        assert!(matches!(kind_of_line("runsc-gofer --root=/r gofer --bundle /b c1"), Kind::Claims(_)));
    }

    #[test]
    fn this_process_is_in_the_table_below_its_parents() {
        let table = Table::read(|_| {});
        let me = std::process::id() as i32;
        let parent = std::os::unix::process::parent_id() as i32;
        assert_eq!(table.ancestors(me).next(), Some(parent));
        assert!(table.closure([parent]).contains(&me));
        let task = table.task(me, Role::Other).unwrap();
        assert_eq!(Some(task.identity), Identity::me().ok());
        assert!(task.age_ms < 600_000 && !task.is_held());
    }
}
