//! The end of a host: everything of it, wedged or not.

use crate::{eventually, network, sockets, traces::Traces};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::Signal,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Ends everything of the host, wedged or not, and says what would not go.
pub(crate) fn clear(host: &Traces<'_>, bridge: &str) -> String {
    let sockets = sockets::own(host);
    let guard_folders = sockets::guard_folders(host);
    let gone = eventually(Duration::from_secs(15), "its processes die", || {
        host.thaw();
        let alive: Vec<_> = host.processes().into_iter().filter(|p| p.state != 'Z').collect();
        for process in &alive {
            // It may die between the look and the signal: the next look tells.
            let _ = process.signal(Signal::KILL);
        }
        alive.is_empty().then_some(())
    });
    let mut left = gone.err().map(|error| format!("{error}\n")).unwrap_or_default();
    for path in all_mounts_deepest_first(host) {
        if let Err(error) = unmount(&path, UnmountFlags::DETACH) {
            left += &format!("mount {}: {error}\n", path.display());
        }
    }
    // There is none where every handler names its own.
    let _ = std::fs::remove_dir_all(default_runsc_root(host));
    for path in host.cgroups() {
        let removed = eventually(Duration::from_secs(2), "an empty cgroup", || {
            (std::fs::remove_dir(&path).is_ok() || !path.exists()).then_some(())
        });
        if removed.is_err() {
            left += &format!("cgroup {}\n", path.display());
        }
    }
    for path in sockets {
        // Its owner may have been quicker.
        let _ = std::fs::remove_file(path);
    }
    for (folder, own) in guard_folders {
        if own {
            // The guard itself may have been quicker.
            let _ = std::fs::remove_dir_all(&folder);
            let _ = std::fs::remove_file(folder.with_extension("lock"));
        }
    }
    if let Err(error) = network::remove_bridge(bridge) {
        left += &format!("{error}\n");
    }
    left
}

/// With `null-netns`, which outlives sandboxes but not the host.
fn all_mounts_deepest_first(host: &Traces<'_>) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(host.folder) || path.starts_with(default_runsc_root(host)))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

/// Runsc's root where none is configured, in the host's own namespace.
fn default_runsc_root(host: &Traces<'_>) -> PathBuf {
    Path::new("/run/containerd/runsc").join(host.tag)
}
