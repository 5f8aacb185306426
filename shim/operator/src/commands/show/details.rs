//! What there is to know of one sandbox beyond the survey: its processes with their threads, cgroups, mounts,
//! network, gVisor's version and flags, reports. Everything is read from the host's side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runsc_guard_node::config::REPORT_DIR;
use runsc_guard_node::params::ServeParams;
use runsc_guard_node::paths::Place;
use runsc_guard_sandbox::diagnostics::stacks;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::identity::{self, Identity};
use runsc_guard_sandbox::sys::procfs;
use serde::Serialize;

use crate::survey::model::Found;
use crate::survey::scope::{namespace_of, processes, resources};

/// How long gVisor may take to tell its version.
const VERSION: Duration = Duration::from_millis(300);
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

impl Details {
    /// Looks.
    pub(crate) fn of(found: &Found) -> Self {
        let sentry = found.sentry.as_ref().map(|task| task.identity.pid);
        let resources = resources(found);
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
            own_cgroups: resources.cgroups().to_vec(),
            mounts: mounts_of(found),
            files: resources.files().iter().filter(|path| path.symlink_metadata().is_ok()).cloned().collect(),
            network: Network::of(sentry, resources.network_namespace()),
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
    let folder = found.place.as_ref().and_then(told).unwrap_or_else(|| REPORT_DIR.into());
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
    use crate::survey::model::tests::found;

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
    fn ages_are_counted_from_one_that_is_known() {
        let mut one = found("a");
        one.sentry.as_mut().unwrap().identity.start_time = 1_000;
        one.sentry.as_mut().unwrap().age_ms = 5_000;
        let later = Identity { pid: 9, start_time: 1_200 };
        assert_eq!(age_ms(later, &one), 3_000);
    }
}
