//! What runsc wrote down about a container: `<runsc root>/<container>_sandbox:<sandbox>.state`
//! (`runsc/container/state_file.go`, `container.go`, `runsc/sandbox/sandbox.go`).
//!
//! Pids in it are hints for people; nothing here acts on them. Every path in it is checked to lie where runsc
//! may put such a thing, so that a forged or damaged file cannot make the guard touch anything else. The file
//! embeds the whole OCI spec and is not written atomically: only the keys needed are kept, and a file that does
//! not parse is read a second time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::resources::cgroup;
use crate::resources::hooks::{self, Hook, Hooks};
use crate::sys::file;

/// No state file that runsc writes comes near this.
const LIMIT: u64 = 16 * 1024 * 1024;
/// How long a writer may need for the rest of a file that was cut off.
const REREAD_AFTER: Duration = Duration::from_millis(20);
/// Where runsc puts its control socket when the path below its root is too long.
pub(crate) const SOCKET_FALLBACKS: [&str; 3] = ["/var/run", "/run", "/tmp"];

/// Why there is nothing to learn from a state file.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// Only such ids occur in file names; anything else could leave the folder.
    #[error("{0:?} cannot be a container's id")]
    Id(String),
    /// There is none, or it cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading it gave.
        source: file::ReadError,
    },
    /// Not JSON, or not what runsc writes.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// It is about something else than its name says.
    #[error("{}: is about container {found:?}", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The id in it.
        found: String,
    },
}

impl StateFileError {
    /// Whether there simply is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source: file::ReadError::Absent, .. })
    }
}

/// A container as runsc knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunscState {
    /// The container's id.
    pub id: String,
    /// The bundle that runsc was given.
    #[serde(default)]
    pub bundle_dir: PathBuf,
    /// `creating`, `created`, `running`, `paused` or `stopped`; not updated when the sandbox dies.
    #[serde(default)]
    pub status: String,
    /// 0 if there is none.
    #[serde(default)]
    pub gofer_pid: i32,
    /// The sandbox; every container has a copy.
    pub sandbox: Option<SandboxState>,
    #[serde(default)]
    compat_cgroup: Option<Cgroup>,
    #[serde(default)]
    spec: Spec,
}

/// The sandbox as runsc knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxState {
    /// The root container's id.
    pub id: String,
    /// The sentry's pid, as a hint.
    #[serde(default)]
    pub pid: i32,
    #[serde(default)]
    control_socket_path: PathBuf,
    metric_metadata: Option<BTreeMap<String, String>>,
    cgroup: Option<Cgroup>,
}

/// One of `cgroupv1`, `cgroupv2`, `cgroupsystemd`, or `cgroupunknown` for none (`CgroupJSON`).
#[derive(Debug, Deserialize)]
struct Cgroup {
    cgroupv1: Option<CgroupV1>,
    cgroupv2: Option<CgroupV2>,
    cgroupsystemd: Option<CgroupV2>,
}

#[derive(Debug, Deserialize)]
struct CgroupV1 {
    name: PathBuf,
    parents: Option<BTreeMap<String, PathBuf>>,
    own: Option<BTreeMap<String, bool>>,
}

#[derive(Debug, Deserialize)]
struct CgroupV2 {
    mountpoint: PathBuf,
    own: Option<Vec<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    oci_version: String,
    annotations: Option<BTreeMap<String, String>>,
    hooks: Option<SpecHooks>,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Default, Deserialize)]
struct SpecHooks {
    poststop: Option<Vec<Hook>>,
}

#[derive(Debug, Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Mount {
    #[serde(default)]
    source: PathBuf,
}

impl RunscState {
    /// Reads what runsc wrote about `container` in the sandbox of `sandbox`.
    pub fn read(runsc_root: &Path, container: &str, sandbox: &str) -> Result<Self, StateFileError> {
        let path = file(runsc_root, container, sandbox, "state")?;
        let state = match Self::parse(&path) {
            Err(StateFileError::Parse { .. }) => {
                std::thread::sleep(REREAD_AFTER);
                Self::parse(&path)?
            }
            first => first?,
        };
        let stranger = state.sandbox.as_ref().map(|one| &one.id).filter(|id| *id != sandbox);
        match stranger.or(Some(&state.id).filter(|id| *id != container)) {
            Some(found) => Err(StateFileError::Misnamed { found: found.clone(), path }),
            None => Ok(state),
        }
    }

    fn parse(path: &Path) -> Result<Self, StateFileError> {
        let bytes = file::read(path, LIMIT)
            .map_err(|source| StateFileError::Read { path: path.to_owned(), source })?;
        Self::decode(&bytes).map_err(|source| StateFileError::Parse { path: path.to_owned(), source })
    }

    pub(crate) fn decode(content: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(content)
    }

    /// gVisor's version, as the sentry has told it; none where it was built without one.
    pub fn version(&self) -> Option<String> {
        let version = self.sandbox.as_ref()?.metric_metadata.as_ref()?.get("version")?;
        (!version.is_empty() && version != "VERSION_MISSING").then(|| version.clone())
    }

    /// The cgroups that runsc made for this container alone, deepest first.
    pub fn own_cgroups(&self) -> Vec<PathBuf> {
        self.compat_cgroup.as_ref().map(Cgroup::own).unwrap_or_default()
    }

    /// The cgroups that runsc made for the whole sandbox, deepest first.
    pub fn sandbox_cgroups(&self) -> Vec<PathBuf> {
        let cgroup = self.sandbox.as_ref().and_then(|sandbox| sandbox.cgroup.as_ref());
        cgroup.map(Cgroup::own).unwrap_or_default()
    }

    /// The sandbox's control socket, if it is where runsc puts one.
    pub fn control_socket(&self, runsc_root: &Path) -> Option<PathBuf> {
        let sandbox = self.sandbox.as_ref()?;
        let path = &sandbox.control_socket_path;
        let mut folders = SOCKET_FALLBACKS.iter().map(Path::new).chain([runsc_root]);
        let named = socket_name(&sandbox.id).ok()?;
        folders.any(|folder| folder.join(&named) == *path).then(|| path.clone())
    }

    /// The hooks that `runsc delete` would run, if there are any; `file` is this state's own.
    pub(crate) fn hooks(&self, file: PathBuf) -> Option<Hooks> {
        let hooks = self.spec.hooks.as_ref()?.poststop.clone().filter(|hooks| !hooks.is_empty())?;
        let state = hooks::State {
            oci_version: self.spec.oci_version.clone(),
            id: self.id.clone(),
            status: "stopped",
            // As runsc says it of a container that is deleted (`Container.SandboxPid`).
            pid: -1,
            bundle: self.bundle_dir.clone(),
            annotations: self.spec.annotations.clone().unwrap_or_default(),
        };
        Some(Hooks { state, file, hooks })
    }

    /// The folders that runsc may have put a filestore in: the rootfs and what is mounted in it.
    pub fn filestore_folders(&self) -> impl Iterator<Item = &Path> {
        let root = self.spec.root.iter().map(|root| root.path.as_path());
        let mounts = self.spec.mounts.iter().flatten().map(|mount| mount.source.as_path());
        root.chain(mounts).filter(|folder| folder.is_absolute())
    }
}

impl Cgroup {
    fn own(&self) -> Vec<PathBuf> {
        let v1 = self.cgroupv1.iter().flat_map(CgroupV1::own);
        let v2 = [&self.cgroupv2, &self.cgroupsystemd].into_iter().flatten().flat_map(CgroupV2::own);
        let mut own: Vec<PathBuf> = v1.chain(v2).collect();
        own.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
        own
    }
}

impl CgroupV1 {
    /// As runsc's `MakePath`: a relative name lies below the parent of that hierarchy.
    fn own(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.own.iter().flatten().filter(|(_, own)| **own).map(|(controller, _)| controller);
        own.filter(|_| self.name.components().next_back().is_some()).filter_map(|controller| {
            let parent = self.parents.as_ref().and_then(|parents| parents.get(controller));
            let name = self.name.strip_prefix("/").unwrap_or(&self.name);
            cgroup::v1(controller, &parent.map_or_else(|| name.to_owned(), |parent| parent.join(name)))
        })
    }
}

impl CgroupV2 {
    fn own(&self) -> impl Iterator<Item = PathBuf> {
        let below = self.own.iter().flatten().filter_map(|folder| folder.strip_prefix(&self.mountpoint).ok());
        below.filter_map(|path| cgroup::v2(&self.mountpoint, path))
    }
}

/// Whether runsc has noted that this sandbox is paused. A file that is being written says no.
pub fn is_paused(runsc_root: &Path, sandbox: &str) -> bool {
    let state = file(runsc_root, sandbox, sandbox, "state").and_then(|path| RunscState::parse(&path));
    state.is_ok_and(|state| state.id == sandbox && state.status == "paused")
}

/// The name of one of runsc's files about a container. Ids are checked: they must not leave the folder.
pub fn file(
    runsc_root: &Path,
    container: &str,
    sandbox: &str,
    kind: &str,
) -> Result<PathBuf, StateFileError> {
    let name = format!("{}_sandbox:{}.{kind}", checked(container)?, checked(sandbox)?);
    Ok(runsc_root.join(name))
}

/// Container, sandbox and kind that [`file()`]'s name says, of a name that runsc can have written.
pub fn parse_name(name: &str) -> Option<(&str, &str, &str)> {
    let (container, rest) = name.split_once("_sandbox:")?;
    let (sandbox, kind) = rest.rsplit_once('.')?;
    (is_id(container) && is_id(sandbox)).then_some((container, sandbox, kind))
}

/// The name of a sandbox's control socket.
pub fn socket_name(sandbox: &str) -> Result<String, StateFileError> {
    Ok(format!("runsc-{}.sock", checked(sandbox)?))
}

/// The name of a sandbox's filestores (`runsc/boot/vfs.go`, SelfFilestorePath).
pub fn filestore_name(sandbox: &str) -> Result<String, StateFileError> {
    Ok(format!(".gvisor.filestore.{}", checked(sandbox)?))
}

/// The ids that runsc takes (`validateID`): letters, digits and `_+.-`, which leaves no way out of a folder
/// once it is part of a longer name.
fn checked(id: &str) -> Result<&str, StateFileError> {
    if is_id(id) { Ok(id) } else { Err(StateFileError::Id(id.to_owned())) }
}

/// Whether runsc takes this for the id of a container.
pub(crate) fn is_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    !id.is_empty() && id.bytes().all(good) && !id.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests;
