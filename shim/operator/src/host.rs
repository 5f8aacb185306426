//! From a pod onto its node, where there is no shell to run the command in (Talos), or no wish to install it.
//!
//! Two namespaces of a process of the node are entered, those of mounts and of cgroups. With them paths and names mean
//! what they mean to containerd: runsc's files, bundles, cgroups, reports; and what is unmounted is unmounted for it,
//! too, which from a pod's own namespace would depend on how each volume propagates. Process 1 sees what containerd sees,
//! unless that has been given a namespace of its own.

use std::env::set_current_dir;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::unistd::chroot;

/// Sees from now on what process `pid` sees. Before any thread is started: a namespace of mounts is entered by processes
/// with one only.
pub(crate) fn enter(pid: u32) -> Result<()> {
    ensure!(pid != std::process::id(), "--host: this pod has process ids of its own; it needs hostPID: true");
    let namespaces = [("cgroup", CloneFlags::CLONE_NEWCGROUP), ("mnt", CloneFlags::CLONE_NEWNS)];
    // All are opened before one is entered: the new mounts need not show processes in the same place.
    let files = namespaces.map(|(name, flag)| (name, File::open(format!("/proc/{pid}/ns/{name}")), flag));
    for (name, file, flag) in files {
        file.and_then(|file| setns(file, flag).map_err(Into::into)).with_context(|| {
            format!("--host: cannot enter the {name} namespace of process {pid}; is the pod privileged?")
        })?;
    }
    Ok(())
}

/// Makes the node's root this process's own.
pub(crate) fn enter_root(root: &Path) -> Result<()> {
    if root == Path::new("/") {
        return Ok(());
    }
    let entered = chroot(root).map_err(anyhow::Error::from).and_then(|()| Ok(set_current_dir("/")?));
    entered.with_context(|| format!("cannot make {} the root", root.display()))
}
