//! Docker's runtimes, where a node has no pods but Docker's containers: `runtimes` of its daemon.json.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::sys::file;
use serde::Deserialize;

use super::files::{Handler, Place, Table};
use super::handler::{Options, Runtime};

/// Docker's configuration.
pub(crate) const USUAL: &str = "/etc/docker/daemon.json";
/// By these Docker is known to be there.
const SIGNS: [&str; 3] = [USUAL, "/run/docker.pid", "/run/docker.sock"];
const MAX: u64 = 1 << 20;

/// What Docker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Docker {
    /// Runtimes that are gVisor's shims, guarded or not.
    pub(crate) handlers: Vec<Handler>,
    /// Runtimes that are a program under runc's shim, and that program is gVisor's.
    pub(crate) wrapped: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Daemon {
    runtimes: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    path: String,
    runtime_type: String,
    options: Option<Options>,
}

/// What Docker is told, if it is on this node.
pub(crate) fn look(root: &Path) -> Option<Result<Docker, String>> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    SIGNS.iter().any(|sign| at(sign).exists()).then(|| {
        let file = at(USUAL);
        if !file.exists() {
            return Ok(Docker::default());
        }
        let text = file::read(&file, MAX).map_err(|error| format!("{USUAL}: {error}"))?;
        read(&text).map_err(|error| format!("{USUAL}: {error}"))
    })
}

fn read(text: &[u8]) -> Result<Docker, serde_json::Error> {
    let daemon: Daemon = serde_json::from_slice(text)?;
    let mut docker = Docker::default();
    for (name, Entry { path, runtime_type, options }) in daemon.runtimes {
        if Path::new(&path).file_name().is_some_and(|program| program == "runsc") {
            docker.wrapped.push(name);
            continue;
        }
        let place = Place { file: PathBuf::from(USUAL), line: 0 };
        let runtime = Runtime { runtime_type, options, ..Runtime::default() };
        docker.handlers.extend(Handler::of(((name, Table::Docker), (place, 0, runtime))));
    }
    Ok(docker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn runtimes_are_read_as_docker_has_them() {
        let text = br#"{"log-level": "info", "runtimes": {
            "runsc-guard": {"runtimeType": "io.containerd.runsc-guard.v2", "options": {
                "TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"}},
            "gvisor": {"runtimeType": "io.containerd.runsc.v1"},
            "runsc": {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--debug"]},
            "crun": {"path": "/usr/bin/crun"}}}"#;
        let docker = read(text).unwrap();
        let told: Vec<_> = docker.handlers.iter().map(|one| (one.name.as_str(), one.guarded)).collect();
        assert_eq!(told, [("gvisor", false), ("runsc-guard", true)]);
        assert_eq!(docker.handlers[1].config_path.as_deref(), Some(Path::new("/etc/containerd/runsc.toml")));
        assert_eq!(docker.wrapped, ["runsc"]);
        assert!(read(b"{").is_err());
    }

    #[test]
    fn docker_is_known_by_what_it_leaves() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(look(root.path()), None);
        fs::create_dir_all(root.path().join("run")).unwrap();
        fs::write(root.path().join("run/docker.pid"), "1").unwrap();
        assert_eq!(look(root.path()), Some(Ok(Docker::default())));
        fs::create_dir_all(root.path().join("etc/docker")).unwrap();
        fs::write(root.path().join("etc/docker/daemon.json"), "{\n,").unwrap();
        assert!(look(root.path()).unwrap().unwrap_err().starts_with("/etc/docker/daemon.json: "));
    }
}
