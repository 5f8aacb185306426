//! Step 6: FUSE connections whose server does not answer. Who waits for one cannot be killed: for a request that the
//! server has read, and every flush (fs/fuse/dev.c, `request_wait_answer`), for pages that are being written back
//! (fsync, msync, munmap, exit), and for the locks of others who wait. Where in the kernel that is does not matter, and
//! often cannot be known: whoever is in state D may wait for a server that hangs (`hung`).
//!
//! Aborting a connection wakes them all, and ends the file system for everybody who has it mounted. So only one
//! is aborted that this sandbox uses, and of which every mount, in all mount namespaces, is this pod's: seen by
//! this sandbox's processes alone, or below a member's bundle or the pod's own folder (`.../pods/<uid>/`, as a
//! kubelet has it). A mount that the node itself uses is nobody's own, so what is behind a hostPath stays.
//! (A mount that was detached while somebody has a file open on it is in no namespace, and not seen.)

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use runsc_guard_core::policy::LOOK_AGAIN_AFTER;

use crate::Scope;
use crate::processes::find;
use crate::processes::process::{Process, Role};
use crate::resources::mount_namespace;
use crate::resources::mounts::{self, Mount};
use crate::resources::spec::pod_uid;
use crate::sys::identity::{self, Identity};
use crate::sys::kernel::wait_all;
use crate::sys::procfs;
use crate::teardown::stuck::{StuckProcess, await_death, served};

mod fusectl;
mod hung;

use fusectl::Fusectl;
use hung::{Server, Verdict};

/// What is known of the connections that a sandbox uses, from before anything was killed (the mount namespace of a
/// gofer goes with it, and the sentry that waits is in another one), and what has been seen of them since.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// By number, with the mount in words.
    used: BTreeMap<u32, String>,
    servers: BTreeMap<u32, Server>,
    /// The sandbox's threads in state D at the last look, and how often each had given its processor away by then.
    waiters: BTreeMap<Identity, u64>,
    looked: Option<Instant>,
    /// Those that hang and are not this pod's alone, as far as that has been said.
    spared: BTreeSet<u32>,
}

/// What a time of watching has led to.
#[derive(Debug, Default)]
pub struct Watched {
    /// The mounts whose connections hang and were aborted.
    pub aborted: Vec<String>,
    /// Those that hang and were not, because they are not this pod's alone; each is told once.
    pub spared: Vec<String>,
    /// A server has requests waiting, and not for long enough yet: it ought to be watched on.
    pub undecided: bool,
}

impl Connections {
    /// The connections that these processes of the sandbox see in mount namespaces of their own.
    pub fn of(found: &[Process]) -> Self {
        let host = mount_namespace::id(std::process::id().cast_signed()).ok();
        let mut known = Self::default();
        for process in found.iter().filter(|process| process.role != Role::Stub) {
            let pid = process.identity.pid;
            let own = mount_namespace::id(pid).ok();
            if own.is_some() && own != host {
                known.add(&mounts::seen_by(&pid.to_string()).unwrap_or_default());
            }
        }
        // The host's name for it is the one that an operator knows.
        for mount in mounts::seen_by(mounts::ME).unwrap_or_default() {
            if let Some(words) = connection(&mount).and_then(|one| known.used.get_mut(&one)) {
                *words = mount.to_string();
            }
        }
        known
    }

    fn add<'a>(&mut self, mounts: impl IntoIterator<Item = &'a Mount>) {
        for mount in mounts {
            if let Some(one) = connection(mount) {
                self.used.entry(one).or_insert_with(|| mount.to_string());
            }
        }
    }

    /// Says what these processes probably wait for: a connection that they may not see themselves, and on which somebody
    /// waits.
    pub fn name(&self, stuck: &mut [StuckProcess]) {
        let waits = |one: &&mut StuckProcess| {
            let served = one.wchan.as_deref().and_then(served);
            let is_open = one.mount.is_none() || served.is_some_and(|(kind, _)| kind == "fuse");
            one.state == 'D' && one.frozen.is_none() && is_open
        };
        let mut stuck = stuck.iter_mut().filter(waits).peekable();
        if self.used.is_empty() || stuck.peek().is_none() {
            return;
        }
        let Ok(control) = Fusectl::open() else { return };
        let busy = self.used.iter().filter(|(one, _)| control.is_waiting(**one));
        let busy: Vec<&str> = busy.map(|(_, words)| words.as_str()).collect();
        if !busy.is_empty() {
            stuck.for_each(|one| one.mount = Some(busy.join(" or ")));
        }
    }

    fn words(&self, connections: &[u32]) -> Vec<String> {
        connections.iter().filter_map(|one| self.used.get(one)).cloned().collect()
    }

    /// One look at each connection, while some of these processes are in state D; nothing otherwise.
    fn look(&mut self, control: &Fusectl, stuck: &[StuckProcess]) -> Vec<(u32, Verdict)> {
        let waiters = waiters(stuck);
        let woken = self.waiters.iter().any(|(thread, switches)| waiters.get(thread) != Some(switches));
        let passed = self.looked.replace(Instant::now()).map(|at| at.elapsed()).unwrap_or_default();
        self.waiters = waiters;
        if self.waiters.is_empty() {
            self.servers.clear();
            return Vec::new();
        }
        let servers = &mut self.servers;
        let mut judge = |one| servers.entry(one).or_default().look(passed, control.waiting(one), woken);
        self.used.keys().map(|one| (*one, judge(*one))).collect()
    }
}

/// Watches what holds these processes up until then, until they are dead, or until it is known what does and what does not
/// hang; aborts what hangs and is this pod's alone.
pub fn watch(
    scope: &Scope,
    known: &mut Connections,
    stuck: &[StuckProcess],
    until: Instant,
) -> io::Result<Watched> {
    let mut watched = Watched::default();
    let control = Fusectl::open()?;
    if known.looked.is_none() {
        let places = Places::of(scope);
        Table::all(scope, stuck)?.iter().for_each(|table| known.add(table.certain(&places)));
    }
    let dying = await_death(stuck);
    loop {
        let verdicts = known.look(&control, stuck);
        let that = |verdict| verdicts.iter().filter(move |(_, one)| *one == verdict).map(|(one, _)| *one);
        let hung: Vec<u32> = that(Verdict::Hangs).collect();
        watched.undecided = that(Verdict::Undecided).next().is_some();
        if !hung.is_empty() {
            let (ours, others) = whose(scope, stuck, hung)?;
            ours.iter().try_for_each(|one| control.abort(*one))?;
            watched.aborted = known.words(&ours);
            let new: Vec<u32> = others.into_iter().filter(|one| known.spared.insert(*one)).collect();
            watched.spared.extend(known.words(&new));
        }
        let next = Instant::now() + LOOK_AGAIN_AFTER;
        if !watched.aborted.is_empty() || !watched.undecided || next > until {
            return Ok(watched);
        }
        if wait_all(dying.iter().map(|(_, process)| process), next) {
            return Ok(Watched::default());
        }
    }
}

/// Those of these connections of which every mount is this pod's, and the others.
fn whose(scope: &Scope, stuck: &[StuckProcess], hung: Vec<u32>) -> io::Result<(Vec<u32>, Vec<u32>)> {
    let (tables, places) = (Table::all(scope, stuck)?, Places::of(scope));
    Ok(hung.into_iter().partition(|one| tables.iter().all(|table| table.is_ours(*one, &places))))
}

/// Whether with these mounts a look at this path would wait for a FUSE server that others wait for already: a thread
/// that did would keep the guard itself alive forever.
pub(crate) fn hangs(path: &Path, mounts: &[Mount]) -> bool {
    let holds = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let on = holds.max_by_key(|mount| mount.point.components().count()).and_then(connection);
    on.is_some_and(|one| Fusectl::open().is_ok_and(|control| control.is_waiting(one)))
}

/// The threads of these that are in state D, whatever they wait for, and how often each has given its processor away:
/// one that is woken and waits again has done so once more.
fn waiters(stuck: &[StuckProcess]) -> BTreeMap<Identity, u64> {
    let alive = stuck.iter().map(|one| one.identity).filter(Identity::is_alive);
    let threads = alive.flat_map(|process| identity::threads(process.pid));
    let stuck = threads.filter(|thread| thread.state == 'D').map(|thread| thread.identity);
    stuck.filter_map(|thread| Some((thread, procfs::switches(thread.pid)?))).collect()
}

/// The number under which fusectl lists the file system of a mount: its device's minor, with a major of 0.
fn connection(mount: &Mount) -> Option<u32> {
    let is_fuse = mount.kind == "fuse" || mount.kind.starts_with("fuse.");
    mount.device.strip_prefix("0:").filter(|_| is_fuse)?.parse().ok()
}

/// Where mounts are this pod's, also in the host's mount namespace.
struct Places {
    bundles: Vec<PathBuf>,
    pods: Vec<PathBuf>,
}

impl Places {
    fn of(scope: &Scope) -> Self {
        let bundles: Vec<PathBuf> = scope
            .members
            .iter()
            .map(|member| member.bundle.clone())
            .filter(|path| path.is_absolute())
            .collect();
        let pods = bundles.iter().filter_map(|bundle| pod_uid(bundle)).map(|uid| Path::new("pods").join(uid));
        Self { pods: pods.collect(), bundles }
    }

    fn in_bundle(&self, point: &Path) -> bool {
        self.bundles.iter().any(|bundle| point.starts_with(bundle))
    }

    fn hold(&self, point: &Path) -> bool {
        let parts: Vec<_> = point.components().collect();
        let below = |pod: &PathBuf| {
            let pod: Vec<_> = pod.components().collect();
            parts.windows(pod.len()).any(|window| window == pod)
        };
        self.in_bundle(point) || self.pods.iter().any(below)
    }
}

/// One mount namespace.
struct Table {
    /// Only this sandbox's processes are in it.
    own: bool,
    mounts: Vec<Mount>,
}

impl Table {
    /// Of every process of the machine; an error where one cannot be read, since it might hold anything.
    fn all(scope: &Scope, stuck: &[StuckProcess]) -> io::Result<Vec<Self>> {
        let mut ours: BTreeSet<i32> = find::find(scope).iter().map(|process| process.identity.pid).collect();
        ours.extend(stuck.iter().map(|one| one.identity.pid));
        let mut namespaces: BTreeMap<(u64, u64), (bool, Vec<i32>)> = BTreeMap::new();
        for pid in procfs::all()? {
            // The first thread may have ended, and one that hangs have its namespace to itself.
            for thread in identity::threads(pid).into_iter().map(|thread| thread.identity.pid) {
                let id = match mount_namespace::id(thread) {
                    // On its way out, and out of its namespaces already.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    // One that may not be looked at has more privileges than the guard. Its mounts may.
                    Err(error) if is_denied(&error) => (0, pid.unsigned_abs().into()),
                    id => id?,
                };
                let (own, threads) = namespaces.entry(id).or_insert((true, Vec::new()));
                *own &= ours.contains(&pid);
                threads.push(thread);
            }
        }
        // Any of its threads tells; when all have left it meanwhile, it is no more.
        let read = |(own, threads): (bool, Vec<i32>)| {
            let mut mounts = threads.iter().map(|thread| mounts::seen_by(&thread.to_string()));
            let told = mounts.find(|mounts| mounts.as_ref().map_or_else(is_denied, |_| true))?;
            Some(told.map(|mounts| Self { own, mounts }))
        };
        namespaces.into_values().filter_map(read).collect()
    }

    /// The mounts that are certain to be used by this sandbox.
    fn certain(&self, places: &Places) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(|mount| self.own || places.in_bundle(&mount.point))
    }

    fn is_ours(&self, one: u32, places: &Places) -> bool {
        let mut mounts = self.mounts.iter().filter(|mount| connection(mount) == Some(one));
        mounts.all(|mount| self.own || places.hold(&mount.point))
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests;
