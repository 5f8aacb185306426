//! What there is to know of one sandbox beyond the survey: its processes with their threads, cgroups, mounts,
//! network, gVisor's version and flags, reports. Everything is read from the host's side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runsc_guard_node::params::ServeParams;
use runsc_guard_node::paths::Place;
use runsc_guard_sandbox::Member;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::diagnostics::stacks;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::resources::held::Resources;
use runsc_guard_sandbox::resources::mount_namespace::MountNamespace;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::identity::Stat;
use runsc_guard_sandbox::sys::identity::{self, Identity};
use runsc_guard_sandbox::sys::procfs;
use serde::Serialize;

use crate::model::{Container, Found, Guard, Task};

/// How long gVisor may take to tell its version.
const VERSION: Duration = Duration::from_millis(300);
/// Where reports go unless configured otherwise.
const REPORTS: &str = "/var/log/runsc-guard";
/// No address is longer.
const ADDRESS: u64 = 4096;
/// Reports named, the newest first.
const NEWEST: usize = 5;

/// The details.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    /// Every process, parents first; the guard is not among them.
    pub(crate) processes: Vec<Line>,
    /// Cgroups of the sentry: path, and the controllers that have it.
    pub(crate) cgroups: BTreeMap<PathBuf, Vec<String>>,
    /// Those that runsc made.
    pub(crate) own_cgroups: Vec<PathBuf>,
    /// Mounts in the bundles.
    pub(crate) mounts: Vec<String>,
    /// runsc's files that exist.
    pub(crate) files: Vec<PathBuf>,
    /// The network.
    pub(crate) network: Network,
    /// gVisor's version.
    pub(crate) version: Option<String>,
    /// The sentry's flags.
    pub(crate) flags: Vec<String>,
    /// What was reported of it.
    pub(crate) reports: Vec<PathBuf>,
}

/// One process.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Which.
    pub(crate) identity: Identity,
    /// Its parent.
    pub(crate) parent: i32,
    /// What for.
    pub(crate) role: Role,
    /// The kernel's name for it.
    pub(crate) comm: String,
    /// Of its first thread.
    pub(crate) state: char,
    /// Where in the kernel its first thread waits.
    pub(crate) wchan: Option<String>,
    /// Its threads.
    pub(crate) threads: usize,
    /// Those in state D or T: id, state, where.
    pub(crate) stuck: Vec<(i32, char, String)>,
    /// Its age.
    pub(crate) age_ms: u64,
    /// The container that its command line names.
    pub(crate) container: Option<String>,
}

/// Where it is in the network.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Network {
    /// The namespace that CNI made.
    pub(crate) namespace: Option<PathBuf>,
    /// The one that the sentry is in (`net:[inode]`).
    pub(crate) inode: Option<String>,
    /// Links: name, bytes received, bytes sent.
    pub(crate) links: Vec<(String, u64, u64)>,
}

/// What the library must know to find a sandbox. A guard has all of it below itself. An unguarded one is found
/// below each of its shims, which take in orphans as a guard does, and by command lines, the last of these.
pub(crate) fn scopes(found: &Found) -> Vec<Scope> {
    let member = |one: &Container| Member { id: one.id.clone(), bundle: one.bundle.clone() };
    let scope = |keeper: Option<&Task>| Scope {
        guard: keeper.map(|task| task.identity),
        real_shim: found.real_shims.first().map(|task| task.identity),
        members: found.containers.iter().map(member).collect(),
        runsc_root: found.runsc_root.clone(),
        folder: found.place.as_ref().map(|place| place.folder.clone()).unwrap_or_default(),
        runsc: found.runsc.clone().unwrap_or_default(),
        ..Scope::default()
    };
    if found.guard != Guard::None {
        return vec![scope(found.guard.task())];
    }
    found.real_shims.iter().map(Some).chain([None]).map(scope).collect()
}

/// Every process that is proved to be of this sandbox, shims first.
pub(crate) fn processes(found: &Found) -> Vec<Process> {
    let shims: BTreeSet<Identity> = found.real_shims.iter().map(|shim| shim.identity).collect();
    let below = scopes(found).into_iter().flat_map(|scope| find::find(&scope)).map(|mut process| {
        if shims.contains(&process.identity) {
            process.role = Role::RealShim;
        }
        process
    });
    let mut known = BTreeSet::new();
    let all = shims.iter().filter_map(|shim| shim_itself(*shim)).chain(below);
    all.filter(|process| known.insert(process.identity)).collect()
}

fn shim_itself(identity: Identity) -> Option<Process> {
    let stat = Stat::of(identity.pid).ok().filter(|stat| stat.identity == identity && !stat.is_dead())?;
    let Stat { parent, comm, state, .. } = stat;
    let argv = bounded::command_line(identity.pid).unwrap_or_default();
    Some(Process { identity, parent, comm, state, role: Role::RealShim, argv })
}

/// What it holds; of its one or first scope, which all have the same members.
pub(crate) fn holdings(found: &Found) -> Resources {
    let scope = scopes(found).swap_remove(0);
    Resources::of(&scope, &scope.members)
}

/// The sockets of an unguarded sandbox's shims, as these have written them into the bundles. Only where a shim
/// puts one: the name is a hash, in a folder of containerd's.
pub(crate) fn sockets(found: &Found) -> Vec<PathBuf> {
    if found.guard != Guard::None {
        return Vec::new();
    }
    found.containers.iter().filter_map(socket_of).collect()
}

/// The socket of the shim that keeps this container.
pub(crate) fn socket_of(container: &Container) -> Option<PathBuf> {
    let named = file::read(&container.bundle.join("address"), ADDRESS).ok()?;
    socket(std::str::from_utf8(&named).ok()?)
}

/// Where containerd and the shims have the sandbox's mounts.
pub(crate) fn namespace_of(found: &Found) -> io::Result<MountNamespace> {
    let keepers: Vec<Identity> =
        found.guard.task().into_iter().chain(&found.real_shims).map(|task| task.identity).collect();
    let bundles = found.containers.iter().map(|one| one.bundle.clone());
    MountNamespace::of(&keepers, &bundles.filter(|bundle| bundle.is_absolute()).collect::<Vec<_>>())
}

/// The path in an address, where a shim may listen: the name is a hash.
pub(crate) fn socket(address: &str) -> Option<PathBuf> {
    let path = Path::new(address.trim().strip_prefix("unix://")?);
    let name = path.file_name()?.to_str()?;
    let is_hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (path.is_absolute() && is_hash).then(|| path.to_owned())
}

impl Details {
    /// Looks.
    pub(crate) fn of(found: &Found) -> Self {
        let sentry = found.sentry.as_ref().map(|task| task.identity.pid);
        let holdings = holdings(found);
        let argv = sentry.and_then(|pid| bounded::command_line(pid).ok()).unwrap_or_default();
        let words = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        let mut cgroups: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for (controllers, path) in sentry.map(procfs::cgroups).unwrap_or_default() {
            let name = if controllers.is_empty() { "v2".to_owned() } else { controllers };
            cgroups.entry(path).or_default().push(name);
        }
        Self {
            processes: processes(found).iter().map(|process| Line::of(process, found)).collect(),
            cgroups,
            own_cgroups: holdings.cgroups().to_vec(),
            mounts: mounts_of(found),
            files: holdings.files().iter().filter(|path| path.symlink_metadata().is_ok()).cloned().collect(),
            network: Network::of(sentry, holdings.network_namespace()),
            version: found.version.clone().or_else(|| version(found.runsc.as_deref()?)),
            flags: words.take_while(|word| word.starts_with('-')).collect(),
            reports: reports(found),
        }
    }
}

impl Line {
    fn of(process: &Process, found: &Found) -> Self {
        let pid = process.identity.pid;
        let threads = identity::threads(pid);
        let stuck = threads.iter().filter(|thread| matches!(thread.state, 'D' | 'T' | 't'));
        let stuck = stuck.map(|thread| {
            let id = thread.identity.pid;
            (id, thread.state, procfs::wait_channel(id).unwrap_or_default())
        });
        Self {
            identity: process.identity,
            parent: process.parent,
            role: process.role.clone(),
            comm: process.comm.clone(),
            state: process.state,
            wchan: procfs::wait_channel(pid),
            stuck: stuck.collect(),
            threads: threads.len(),
            age_ms: age_ms(process.identity, found),
            container: process.container().map(str::to_owned),
        }
    }
}

/// From the age of a process that the survey has dated: both start times are in ticks of the same clock.
fn age_ms(identity: Identity, found: &Found) -> u64 {
    let all = found.sentry.iter().chain(&found.real_shims).chain(&found.others).chain(found.guard.task());
    let Some(dated) = all.into_iter().next() else { return 0 };
    let started = |identity: Identity| identity.start_time.saturating_mul(10);
    (dated.age_ms + started(dated.identity)).saturating_sub(started(identity))
}

/// What that runsc says of its version; none if it says nothing in time.
fn version(runsc: &Path) -> Option<String> {
    Some(stacks::version(runsc, Instant::now() + VERSION)).filter(|version| !version.is_empty())
}

fn mounts_of(found: &Found) -> Vec<String> {
    let bundles = found.containers.iter().map(|one| one.bundle.as_path()).filter(|path| path.is_absolute());
    let home = namespace_of(found).unwrap_or_default();
    let mounts = bundles.flat_map(|bundle| home.mounts_below(bundle));
    mounts.map(|mount| mount.to_string()).collect()
}

impl Network {
    fn of(sentry: Option<i32>, namespace: Option<&Path>) -> Self {
        let Some(pid) = sentry else {
            return Self { namespace: namespace.map(Path::to_owned), ..Self::default() };
        };
        let inode = fs::read_link(procfs::dir(pid).join("ns/net")).ok();
        let table = fs::read_to_string(procfs::dir(pid).join("net/dev")).unwrap_or_default();
        Self {
            namespace: namespace.map(Path::to_owned),
            inode: inode.map(|inode| inode.to_string_lossy().into_owned()),
            links: table.lines().filter_map(link).collect(),
        }
    }
}

/// A line of `/proc/<pid>/net/dev`: received bytes are the first number, sent ones the ninth.
fn link(line: &str) -> Option<(String, u64, u64)> {
    let (name, numbers) = line.split_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace().map(str::parse::<u64>);
    let received = numbers.next()?.ok()?;
    let sent = numbers.nth(7)?.ok()?;
    Some((name.trim().to_owned(), received, sent))
}

fn reports(found: &Found) -> Vec<PathBuf> {
    let told = |place: &Place| ServeParams::of(place).map(|params| params.config.report_dir);
    let folder = found.place.as_ref().and_then(told).unwrap_or_else(|| REPORTS.into());
    let end = format!("-{}-{}.json", found.namespace, found.id);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let about = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&end));
    let mut reports: Vec<PathBuf> = entries.filter(about).collect();
    // The names begin with the time.
    reports.sort_by(|one, other| other.cmp(one));
    reports.truncate(NEWEST);
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::found;

    #[test]
    fn a_line_of_net_dev() {
        let line =
            "  eth0: 1296     16    0    0    0     0          0         0     1016      12    0 0 0 0 0 0";
        assert_eq!(link(line), Some(("eth0".into(), 1296, 1016)));
        for header in ["Inter-|   Receive   |  Transmit", " face |bytes    packets", "", "x: 1 2"] {
            assert_eq!(link(header), None);
        }
    }

    #[test]
    fn each_shim_of_an_unguarded_pod_is_looked_below() {
        let mut pod = found("pod1");
        pod.real_shims
            .push(Task { identity: Identity { pid: 20, start_time: 5 }, ..pod.real_shims[0].clone() });
        let keepers = |pod: &Found| -> Vec<Option<i32>> {
            super::scopes(pod).iter().map(|scope| Some(scope.guard?.pid)).collect()
        };
        assert_eq!(keepers(&pod), [Some(10), Some(20), None]);
        let all = super::scopes(&pod);
        assert!(
            all.iter().all(|scope| scope.sandbox_id() == Some("pod1") && scope.folder.as_os_str().is_empty())
        );
        pod.guard = Guard::Silent(pod.real_shims[0].clone(), String::new());
        assert_eq!(keepers(&pod), [Some(10)], "a guard has all of it below itself");
        (pod.guard, pod.real_shims) = (Guard::Dead, Vec::new());
        assert_eq!(keepers(&pod), [None]);
    }

    #[test]
    fn an_address_is_believed_only_where_a_shim_may_listen() {
        let hash = "0123456789abcdef".repeat(4);
        let good = format!("unix:///run/containerd/s/{hash}\n");
        assert_eq!(socket(&good), Some(Path::new("/run/containerd/s").join(&hash)));
        for bad in
            ["", "unix:///run/containerd/containerd.sock", &format!("unix://s/{hash}"), &format!("/s/{hash}")]
        {
            assert_eq!(socket(bad), None, "{bad}");
        }
    }

    #[test]
    fn ages_are_counted_from_one_that_is_known() {
        let mut one = found("a");
        one.sentry.as_mut().unwrap().identity.start_time = 1_000;
        one.sentry.as_mut().unwrap().age_ms = 5_000;
        let later = Identity { pid: 9, start_time: 1_200 };
        assert_eq!(age_ms(later, &one), 3_000);
    }
}
