//! What a sandbox has while it runs, to be sure afterwards that nothing of it is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::resources::mount_namespace::MountNamespace;
use runsc_guard_sandbox::sys::identity::Identity;

use crate::containerd::BUNDLES;
use crate::survey::model::Found;
use crate::survey::scope::{namespace_of, processes, resources, sockets};

/// Beside the folder of bundles: what CRI keeps for a pod.
const CRI: &str = "io.containerd.grpc.v1.cri/sandboxes";

/// The list.
pub(super) struct Inventory {
    processes: BTreeSet<(Identity, String)>,
    paths: BTreeSet<PathBuf>,
    /// Below these nothing may be mounted.
    folders: Vec<PathBuf>,
    home: MountNamespace,
}

impl Inventory {
    /// Of a sandbox that runs.
    pub(super) fn of(found: &Found) -> Self {
        let guard = found.guard.task().map(|guard| (guard.identity, "guard".to_owned()));
        let below = processes(found).into_iter().map(|one| (one.identity, one.role.to_string()));
        let resources = resources(found);
        let bundles = found.containers.iter().map(|one| one.bundle.clone());
        let folders: Vec<PathBuf> = bundles.chain(cris(found)).filter(|path| path.is_absolute()).collect();
        let place = found.place.iter().flat_map(|place| [place.folder.clone(), place.socket.clone()]);
        let paths = resources.cgroups().iter().chain(resources.files()).chain(&folders).cloned();
        Self {
            processes: below.chain(guard).collect(),
            paths: paths.chain(place).chain(sockets(found)).filter(|path| is_there(path)).collect(),
            folders,
            home: namespace_of(found).unwrap_or_default(),
        }
    }

    /// How much that is.
    pub(super) fn summary(&self) -> String {
        let mounts: usize = self.folders.iter().map(|folder| self.home.mounts_below(folder).len()).sum();
        format!("{} processes, {mounts} mounts, {} files and folders", self.processes.len(), self.paths.len())
    }

    /// What of it there still is.
    pub(super) fn left(&self) -> Vec<String> {
        let processes = self.processes.iter().filter(|(identity, _)| identity.is_alive());
        let processes = processes.map(|(identity, role)| format!("process: {role} {}", identity.pid));
        let paths = self.paths.iter().filter(|path| is_there(path));
        let paths = paths.map(|path| format!("file: {}", path.display()));
        let mounts = self.folders.iter().flat_map(|folder| self.home.mounts_below(folder));
        let mounts = mounts.map(|mount| format!("mount: {}", mount.point.display()));
        processes.chain(paths).chain(mounts).collect()
    }
}

/// What CRI keeps for a pod.
fn cris(found: &Found) -> Option<PathBuf> {
    let bundle = &found.containers.first()?.bundle;
    let state = bundle.ancestors().find(|path| path.ends_with(BUNDLES))?.parent()?;
    found.pod.as_ref().map(|_| state.join(CRI).join(&found.id))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
