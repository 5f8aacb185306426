//! The process table in one pass: `stat` and `status` for each process, and a command line only of those that can be
//! proved to be a sandbox's: root's own, what is the first process of a pid namespace just below ours, what a file of
//! runsc's names, and what is below a shim. Whatever a stranger says is not even read. The stubs of a sandbox, by far
//! the most of its processes, have no command line and are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::{Claim, Role};
use runsc_guard_sandbox::processes::proof::{Standing, Vantage};
use runsc_guard_sandbox::resources::cgroup;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::identity::Stat;
use runsc_guard_sandbox::sys::procfs;

use super::sight::Blind;
use crate::survey::model::Task;

/// The guard's program.
const GUARD: &[u8] = b"containerd-shim-runsc-guard-v2";
/// In the name of each shim: containerd finds it by that.
const SHIM: &[u8] = b"containerd-shim-";
/// In the name of each shim of gVisor's.
const RUNSC: &[u8] = b"runsc";
/// What the kernel says after the path of a folder that was removed.
pub(crate) const DELETED: &str = " (deleted)";
/// How many command lines may hang before no more of possible strangers' are asked for.
const HUNG: u32 = 4;
/// Children of the kernel's `kthreadd` are no processes.
const KTHREADD: i32 = 2;

/// What a process is to this command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of gVisor's.
    Claims(Claim),
    /// A shim of containerd's kind, run by root: namespace and id from its command line.
    Shim {
        /// `-namespace`.
        namespace: String,
        /// `-id`; gVisor's of before 2026-05 has none there, and works in the bundle, which is named by it.
        id: String,
        /// gVisor's: all that is below it is a sandbox's.
        gvisors: bool,
    },
    /// A guard.
    Guard,
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
    standings: BTreeMap<i32, Standing>,
    kinds: BTreeMap<i32, Kind>,
    children: BTreeMap<i32, Vec<i32>>,
    uptime: Duration,
}

impl Table {
    /// Reads it; `reading` hears of each process before it is looked at, `named` are those that a file of root's names.
    pub(crate) fn read(named: &BTreeSet<i32>, reading: impl Fn(i32)) -> Result<Self, Blind> {
        let mut table = Self {
            stats: BTreeMap::new(),
            standings: BTreeMap::new(),
            kinds: BTreeMap::new(),
            children: BTreeMap::new(),
            uptime: procfs::uptime().unwrap_or_default(),
        };
        let vantage = Vantage::new();
        let closed = |path: PathBuf| |error| Blind::Closed { path, error };
        for pid in procfs::all().map_err(closed("/proc".into()))? {
            reading(pid);
            let stat = match Stat::of(pid) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                stat => stat.map_err(closed(procfs::dir(pid)))?,
            };
            if stat.is_dead() || stat.parent == KTHREADD || pid == KTHREADD {
                continue;
            }
            table.children.entry(stat.parent).or_default().push(pid);
            table.standings.insert(pid, vantage.standing(&stat));
            table.stats.insert(pid, stat);
        }
        table.name_all(named, reading);
        Ok(table)
    }

    /// From the roots down: what a sentry has started needs no name of its own.
    fn name_all(&mut self, named: &BTreeSet<i32>, reading: impl Fn(i32)) {
        let is_root = |stat: &&Stat| !self.stats.contains_key(&stat.parent);
        let roots = self.stats.values().filter(is_root).map(|stat| (stat.identity.pid, false));
        let mut queue: Vec<(i32, bool)> = roots.collect();
        let mut hung = 0;
        while let Some((pid, kept)) = queue.pop() {
            let parent = self.stats.get(&pid).map_or(0, |stat| stat.parent);
            let by_kernel = || self.stats.get(&parent).is_some_and(|parent| find::is_of_itself(&parent.comm));
            let of_sentry = match self.kinds.get(&parent) {
                Some(Kind::Stub) => true,
                Some(Kind::Claims(claim)) => claim.role == Role::Sentry,
                // One that dies, and waits for its stubs to, has no memory and so no command line any more.
                Some(Kind::Other) => kept && by_kernel(),
                _ => false,
            };
            reading(pid);
            let standing = self.standing(pid);
            let kind = match standing {
                _ if of_sentry => Kind::Stub,
                Standing::Stranger if !kept && !named.contains(&pid) => Kind::Other,
                Standing::Contained if !kept && !named.contains(&pid) && hung >= HUNG => Kind::Other,
                _ => {
                    let line = bounded::command_line(pid);
                    hung += u32::from(line.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut));
                    kind(pid, standing, &line.unwrap_or_default())
                }
            };
            let kept = kept || matches!(kind, Kind::Guard | Kind::Shim { gvisors: true, .. });
            self.kinds.insert(pid, kind);
            queue.extend(self.children.get(&pid).into_iter().flatten().map(|child| (*child, kept)));
        }
    }

    /// What the kernel says of its standing.
    pub(crate) fn standing(&self, pid: i32) -> Standing {
        self.standings.get(&pid).copied().unwrap_or(Standing::Stranger)
    }

    /// Which process has this pid.
    pub(crate) fn identity(&self, pid: i32) -> Option<Identity> {
        self.stats.get(&pid).map(|stat| stat.identity)
    }

    /// Every process of gVisor's, with what it claims.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (i32, &Claim)> {
        self.kinds.iter().filter_map(|(pid, kind)| match kind {
            Kind::Claims(claim) => Some((*pid, claim)),
            _ => None,
        })
    }

    /// What each process is.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (i32, &Kind)> {
        self.kinds.iter().map(|(pid, kind)| (*pid, kind))
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

    /// All that are above one of these.
    pub(crate) fn above<'a>(&self, of: impl IntoIterator<Item = &'a i32>) -> BTreeSet<i32> {
        of.into_iter().flat_map(|pid| self.ancestors(*pid)).collect()
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
        let age = stat.identity.age(self.uptime);
        Some(Task {
            identity: stat.identity,
            role,
            state: stat.state,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            frozen: cgroup::freezable(pid).into_iter().find(|folder| cgroup::is_frozen(folder)),
        })
    }
}

fn kind(pid: i32, standing: Standing, argv: &[OsString]) -> Kind {
    if let Some(claim) = Claim::of(argv) {
        return Kind::Claims(claim);
    }
    if standing != Standing::Root {
        return Kind::Other;
    }
    let value = |name: &str| {
        let pair = argv.windows(2).find(|pair| pair[0] == name)?;
        pair[1].to_str().map(str::to_owned)
    };
    let program =
        argv.first().map(|one| one.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let program = program.unwrap_or_default();
    // Whoever runs something for others may have such words of theirs in its own line.
    let is_shim = program.windows(SHIM.len()).any(|part| part == SHIM)
        && argv.get(1).is_some_and(|one| one.as_bytes().starts_with(b"-"));
    let gvisors = program.windows(RUNSC.len()).any(|part| part == RUNSC);
    let in_bundle = || {
        let bundle = procfs::working_directory(pid).filter(|_| gvisors)?;
        let name = bundle.file_name()?.to_str()?;
        // containerd puts a dot before the name of one that it is about to remove.
        Some(name.strip_suffix(DELETED).unwrap_or(name).trim_start_matches('.').to_owned())
    };
    let last = argv.last().and_then(|one| one.to_str());
    match value("-namespace") {
        // These are short commands of containerd's, not servers.
        Some(_) if matches!(last, Some("start" | "delete" | "finish")) => Kind::Other,
        // Which one it is its folder says; one that is about to end has none and serves nobody.
        _ if program == GUARD => Kind::Guard,
        Some(namespace) if is_shim => match value("-id").or_else(in_bundle) {
            Some(id) => Kind::Shim { namespace, id, gvisors },
            None => Kind::Other,
        },
        _ if pid == 1 || program == b"containerd" => Kind::Reaper,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of_line(line: &str) -> Kind {
        kind_of(line, Standing::Root)
    }

    fn kind_of(line: &str, standing: Standing) -> Kind {
        let me = std::process::id() as i32;
        kind(me, standing, &line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn shims_are_known_by_what_containerd_tells_them() {
        let shim = "/usr/bin/containerd-shim-runsc-v1 -namespace k8s.io -address /a.sock -id pod1 -debug";
        let expected = |id: &str, gvisors| Kind::Shim { namespace: "k8s.io".into(), id: id.into(), gvisors };
        assert_eq!(kind_of_line(shim), expected("pod1", true));
        assert_eq!(kind_of(shim, Standing::Contained), Kind::Other, "whoever is not root may say so");
        assert_eq!(
            kind_of_line("/x/containerd-shim-runc-v2 -namespace k8s.io -id c1"),
            expected("c1", false)
        );
        let cwd = std::env::current_dir().unwrap();
        let bundle = cwd.file_name().unwrap().to_str().unwrap();
        let old = "/usr/bin/containerd-shim-runsc-v1 -namespace k8s.io -address /a.sock -publish-binary /c";
        assert_eq!(kind_of_line(old), expected(bundle, true));
        assert_eq!(kind_of_line("shim -namespace k8s.io -id pod1 -bundle /b delete"), Kind::Other);
        for line in
            ["unshare --pid x -namespace k8s.io -id pod1", "containerd-shim-x-v1 run -namespace a -id b"]
        {
            assert_eq!(kind_of_line(line), Kind::Other, "{line}");
        }
        assert_eq!(kind_of_line("/usr/bin/containerd --config x"), Kind::Reaper);
        assert_eq!(kind_of_line("sleep 1"), Kind::Other);
        assert!(matches!(kind_of_line("runsc-gofer --root=/r gofer --bundle /b c1"), Kind::Claims(_)));
    }

    #[test]
    fn this_process_is_in_the_table_below_its_parents() {
        let table = Table::read(&BTreeSet::new(), |_| {}).unwrap();
        let me = std::process::id() as i32;
        let parent = std::os::unix::process::parent_id() as i32;
        assert_eq!(table.ancestors(me).next(), Some(parent));
        assert!(table.closure([parent]).contains(&me));
        let task = table.task(me, Role::Other).unwrap();
        assert_eq!(Some(task.identity), Identity::me().ok());
        assert!(task.age_ms < 600_000 && !task.is_held());
    }
}
