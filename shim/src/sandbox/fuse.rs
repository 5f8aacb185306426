//! Rung 6: FUSE connections whose server does not answer. Who waits for one cannot be killed (a request that the
//! server has read, and every flush; fs/fuse/dev.c, `request_wait_answer`).
//!
//! Aborting a connection wakes them all, and ends the file system for everybody who has it mounted. So only one
//! is aborted that this sandbox uses, and of which every mount, in all mount namespaces, is this pod's: seen by
//! this sandbox's processes alone, or below a member's bundle or the pod's own folder (`.../pods/<uid>/`, as a
//! kubelet has it). A mount that the node itself uses is nobody's own, so what is behind a hostPath stays.
//! (A mount that was detached while somebody has a file open on it is in no namespace, and not seen.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::mounts::{self, Mount};
use super::process::{Process, Role};
use super::remnant::Remnant;
use super::{Scope, find, procfs};
use crate::bundle::pod_uid;
use crate::kernel;

/// A server that was answering when the sandbox was killed may still have data to flush: it gets this long.
const FLUSH: Duration = Duration::from_secs(30);

/// What is known of the connections that a sandbox uses, from before anything was killed: the mount namespace of
/// a gofer goes with it, and the sentry that waits is in another one.
#[derive(Debug, Default)]
pub struct Connections {
    /// By number, with the mount in words.
    used: BTreeMap<u32, String>,
    /// Requests were waiting then: no killed process' last flush.
    hung: BTreeSet<u32>,
    /// Since when requests have been seen waiting.
    since: BTreeMap<u32, Instant>,
}

impl Connections {
    /// The connections that these processes of the sandbox see in mount namespaces of their own.
    pub fn of(found: &[Process]) -> Self {
        let host = namespace(Path::new("/proc/self")).ok();
        let mut known = Self::default();
        for process in found.iter().filter(|process| process.role != Role::Stub) {
            let pid = process.identity.pid;
            let own = namespace(&procfs::dir(pid)).ok();
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
        if let (false, Ok(control)) = (known.used.is_empty(), Fusectl::open()) {
            known.hung = known.used.keys().copied().filter(|one| control.is_waiting(*one)).collect();
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

    /// Says what these remnants wait for, where that is a connection that they do not see themselves.
    pub fn name(&self, remnants: &mut [Remnant]) {
        let Some(mount) = self.hung.iter().chain(self.since.keys()).find_map(|one| self.used.get(one)) else {
            return;
        };
        for remnant in remnants.iter_mut().filter(|remnant| remnant.mount.is_none()) {
            if remnant.wchan.as_deref().is_some_and(is_fuse) {
                remnant.mount = Some(mount.clone());
            }
        }
    }

    fn is_hung(&mut self, connection: u32, waiting: bool) -> bool {
        if !waiting {
            self.since.remove(&connection);
            return false;
        }
        let since = *self.since.entry(connection).or_insert_with(Instant::now);
        self.hung.contains(&connection) || since.elapsed() >= FLUSH
    }
}

/// Aborts what holds these remnants up and is this pod's alone. Gives the connections aborted, in words.
pub fn abort(scope: &Scope, known: &mut Connections, remnants: &[Remnant]) -> io::Result<Vec<String>> {
    let mut aborted = Vec::new();
    if !remnants.iter().any(|remnant| waits(remnant.identity.pid)) {
        return Ok(aborted);
    }
    let control = Fusectl::open()?;
    let tables = Table::all(scope, remnants)?;
    let places = Places::of(scope);
    tables.iter().for_each(|table| known.add(table.certain(&places)));
    for (one, words) in known.used.clone() {
        let hung = known.is_hung(one, control.is_waiting(one));
        if hung && tables.iter().all(|table| table.is_ours(one, &places)) {
            control.abort(one)?;
            aborted.push(words);
        }
    }
    Ok(aborted)
}

/// Whether with these mounts a look at this path would wait for a FUSE server that others wait for already: a thread
/// that did would keep the guard itself alive for ever.
pub(super) fn hangs(path: &Path, mounts: &[Mount]) -> bool {
    let holds = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let on = holds.max_by_key(|mount| mount.point.components().count()).and_then(connection);
    on.is_some_and(|one| Fusectl::open().is_ok_and(|control| control.is_waiting(one)))
}

/// Whether a thread of the process is in the kernel's hands and those in FUSE's.
fn waits(pid: i32) -> bool {
    procfs::threads(pid)
        .iter()
        .filter(|thread| thread.state == 'D')
        .any(|thread| procfs::wait_channel(thread.identity.pid).is_some_and(|channel| is_fuse(&channel)))
}

fn is_fuse(wait_channel: &str) -> bool {
    wait_channel.contains("fuse") || wait_channel == "request_wait_answer"
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
    fn all(scope: &Scope, remnants: &[Remnant]) -> io::Result<Vec<Self>> {
        let mut ours: BTreeSet<i32> = find::find(scope).iter().map(|process| process.identity.pid).collect();
        ours.extend(remnants.iter().map(|remnant| remnant.identity.pid));
        let mut namespaces: BTreeMap<(u64, u64), (bool, Vec<i32>)> = BTreeMap::new();
        for pid in procfs::all()? {
            // The first thread may have ended, and one that hangs have its namespace to itself.
            for thread in procfs::threads(pid).into_iter().map(|thread| thread.identity.pid) {
                let id = match namespace(&procfs::dir(thread)) {
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

/// The identity of the mount namespace of `/proc/<pid>`.
fn namespace(dir: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(dir.join("ns/mnt"))?;
    Ok((meta.dev(), meta.ino()))
}

/// The kernel's list of FUSE connections, mounted nowhere.
struct Fusectl(std::os::fd::OwnedFd);

impl Fusectl {
    fn open() -> io::Result<Self> {
        kernel::mount_detached(c"fusectl").map(Self)
    }

    fn file(&self, connection: u32, name: &str, how: OFlag) -> io::Result<fs::File> {
        let path = format!("{connection}/{name}");
        Ok(openat(&self.0, path.as_str(), how | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// Whether requests are waiting. Not of a connection that is gone.
    fn is_waiting(&self, connection: u32) -> bool {
        let mut text = String::new();
        let read = self
            .file(connection, "waiting", OFlag::O_RDONLY)
            .and_then(|mut file| file.read_to_string(&mut text));
        read.is_ok() && text.trim().parse::<u64>().is_ok_and(|count| count > 0)
    }

    fn abort(&self, connection: u32) -> io::Result<()> {
        self.file(connection, "abort", OFlag::O_WRONLY)?.write_all(b"1")
    }
}

#[cfg(test)]
mod tests;
