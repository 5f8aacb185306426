//! What of a host there is on this machine, whoever made it: found by what carries the host's tag.

use crate::process::Process;
use std::path::{Path, PathBuf};

/// In the environment of everything that a host's containerd starts.
pub(crate) const MARK: &str = "RUNSC_GUARD_HOST";

/// What all that is one host's own carries.
#[derive(Clone, Copy, Debug)]
pub struct Traces<'a> {
    /// In names, and in the environment as [`MARK`].
    pub(crate) tag: &'a str,
    /// The folder that holds everything else.
    pub(crate) folder: &'a Path,
}

impl Traces<'_> {
    /// Every process of the host: marked in its environment, named by its path in the arguments or the cgroup, and
    /// all that descends from those.
    pub fn processes(&self) -> Vec<Process> {
        let mark = format!("{MARK}={}", self.tag);
        let own = std::process::id().cast_signed();
        let all = Process::all();
        let marked = Process::whose_environment_has(&all, &mark);
        Process::descending(all, |p| {
            p.pid != own
                && (marked.contains(&p.pid)
                    || file_contains(p.pid, "cgroup", &format!("/{}/", self.tag))
                    || p.args.iter().any(|arg| arg.contains(self.folder.to_string_lossy().as_ref())))
                && !p.args.first().is_some_and(|arg| arg.ends_with("/ctr"))
        })
    }

    /// Folders of the host in any hierarchy, the deepest first.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in hierarchies() {
            let top = hierarchy.join(self.tag);
            if top.is_dir() {
                found.extend(folders_below(&top));
                found.push(top);
            }
        }
        found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        found
    }

    /// Thaws every cgroup of the host.
    pub fn thaw(&self) {
        for cgroup in self.cgroups() {
            for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                let file = cgroup.join(file);
                if file.exists() {
                    // What cannot be thawed shows as a process that stays.
                    let _ = std::fs::write(file, value);
                }
            }
        }
    }
}

/// Whether a file of a process contains this.
pub(crate) fn file_contains(pid: i32, file: &str, needle: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/{file}"))
        .is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
}

/// Every hierarchy that is mounted: those of version 1 and the unified one.
pub fn hierarchies() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect()
}

/// What is in a folder; nothing where that is none.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(folders_below(&path));
            found.push(path);
        }
    }
    found
}

/// All files below a folder, at any depth.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
