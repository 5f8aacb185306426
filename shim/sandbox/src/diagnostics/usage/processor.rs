//! The processor time of a sandbox's cgroup, where runsc looks for it (runsc/cgroup/cgroup.go, `NewFromPid`, `CPUUsage`).
//!
//! With v1 that is the sentry's own cgroup in the hierarchy of `cpuacct`; on a host with nothing but v2 the one *above* the
//! sentry's. No other place is tried: where runsc finds nothing it goes by the sentry's word, and so does the guard.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::statfs;

use crate::sys::procfs;

/// Where runsc of 2025 looks always, and a newer one where it finds no mount.
const ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: u32 = 0x6367_7270;
/// The first line of cpu.stat tells it.
const LIMIT: u64 = 4096;

/// Processor time that the sandbox of this sentry has used, in nanoseconds.
pub fn time_of(sentry: i32) -> Option<u64> {
    /// What is mounted where does not change in a process' life.
    static HIERARCHY: OnceLock<Hierarchy> = OnceLock::new();
    let cgroups = procfs::read_at_most(&procfs::dir(sentry).join("cgroup"), 64 * 1024).ok()?;
    HIERARCHY.get_or_init(Hierarchy::mounted).time(std::str::from_utf8(&cgroups).ok()?)
}

/// How this host mounts cgroups, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    unified: bool,
    /// Which part of the hierarchy that counts processor time is mounted, by each of its mounts.
    parts: Vec<PathBuf>,
}

impl Hierarchy {
    fn mounted() -> Self {
        let is_unified =
            |root: &Path| statfs(root).is_ok_and(|about| about.f_type as u32 == CGROUP2_SUPER_MAGIC);
        File::open("/proc/thread-self/mountinfo")
            .and_then(|file| Self::read(BufReader::with_capacity(1024, file), is_unified))
            .unwrap_or_else(|_| Self {
                root: ROOT.into(),
                unified: is_unified(ROOT.as_ref()),
                parts: Vec::new(),
            })
    }

    fn read(mountinfo: impl io::BufRead, is_unified: impl Fn(&Path) -> bool) -> io::Result<Self> {
        let (mut root, mut v1, mut v2) = (None, Vec::new(), Vec::new());
        for line in mountinfo.split(b'\n') {
            let line = line?;
            let Some(mount) = std::str::from_utf8(&line).ok().and_then(Mount::parse) else { continue };
            root.get_or_insert_with(|| root_of(Path::new(mount.point)));
            if mount.kind == "cgroup2" {
                // Of several only the first counts there.
                if v2.is_empty() {
                    v2.push(mount.part.into());
                }
            } else if mount.options.split(',').any(|option| option == "cpuacct") {
                v1.push(mount.part.into());
            }
        }
        let root = root.unwrap_or_else(|| ROOT.into());
        let unified = is_unified(&root);
        Ok(Self { root, unified, parts: if unified { v2 } else { v1 } })
    }

    /// By the lines of `/proc/<pid>/cgroup`.
    fn time(&self, cgroups: &str) -> Option<u64> {
        let path = self.path(cgroups)?;
        if self.unified {
            let folder = self.root.join(path.parent().unwrap_or(&path));
            let stat = procfs::read_at_most(&folder.join("cpu.stat"), LIMIT).ok()?;
            let text = String::from_utf8_lossy(&stat);
            let usec = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            return usec.parse::<u64>().ok()?.checked_mul(1000);
        }
        let usage = self.root.join("cpuacct").join(path).join("cpuacct.usage");
        std::str::from_utf8(&procfs::read_at_most(&usage, LIMIT).ok()?).ok()?.trim().parse().ok()
    }

    /// Below the mount. A line with one colon more than usual, as a name in systemd's form has, is no line to runsc.
    fn path(&self, cgroups: &str) -> Option<PathBuf> {
        let mut found = None;
        for line in cgroups.lines() {
            let [_, controllers, path] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            let counts = match controllers {
                "" => self.unified,
                named => !self.unified && named.split(',').any(|one| one == "cpuacct"),
            };
            if counts {
                found = Some(Path::new(path));
            }
        }
        let path = found.unwrap_or(Path::new("/"));
        let below =
            self.parts.iter().try_fold(path, |path, part| match part.as_os_str().as_encoded_bytes() {
                b"/" => Some(path),
                _ => path.strip_prefix(part).ok(),
            })?;
        Some(below.strip_prefix("/").unwrap_or(below).to_owned())
    }
}

/// A mount of cgroups.
struct Mount<'a> {
    part: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// By the places of its fields, as runsc takes them.
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [.., kind, _, options] = fields[..] else { return None };
        let is_one = fields.len() >= 9 && ["cgroup", "cgroup2"].contains(&kind);
        is_one.then(|| Self { part: fields[3], point: fields[4], kind, options })
    }
}

/// The folder that holds the hierarchies, by one of them.
fn root_of(point: &Path) -> PathBuf {
    let is_one = point
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| CONTROLLERS.contains(&name) || name == "unified" || name.contains(','));
    point.parent().filter(|_| is_one).unwrap_or(point).to_owned()
}

/// The controllers that runsc knows.
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuset",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "pids",
    "cpuacct",
    "devices",
    "freezer",
    "perf_event",
    "rdma",
    "systemd",
];

#[cfg(test)]
mod tests;
