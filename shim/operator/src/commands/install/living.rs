//! Who needs the guard's program: guarded containers that containerd has not cleaned up after, since each bundle names
//! the program that its `delete` runs; and whoever runs it, wherever its bundle is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runsc_guard_sandbox::resources::spec;
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::kernel::wait_all;

use super::running::{Running, running};
use crate::containerd::BUNDLES;

/// In a bundle: the shim's program.
const PROGRAM: &str = "shim-binary-path";
/// Far more than it has.
const MAX_PATH: u64 = 8 << 10;

/// A guard whose last pod has just been removed ends in a moment.
const ENDS: Duration = Duration::from_secs(3);

/// All of this node that need `guard`, in words for its operator.
pub(super) fn needed(state: &Path, guard: &Path) -> io::Result<Vec<String>> {
    let mut needed = living(state, guard);
    if needed.is_empty() {
        wait_all(running(guard)?.iter().map(|one| &one.process), Instant::now() + ENDS);
    }
    for Running { pid, sandbox, .. } in running(guard)? {
        let of_it =
            |line: &&mut String| sandbox.as_ref().is_some_and(|id| line.split(' ').next() == Some(id));
        match (needed.iter_mut().find(of_it), &sandbox) {
            (Some(line), _) => line.push_str(&format!(", process {pid}")),
            (None, Some(sandbox)) => needed.push(format!("{sandbox}, process {pid}")),
            (None, None) => needed.push(format!("process {pid}")),
        }
    }
    Ok(needed)
}

/// All that rely on `guard`: namespace, id, and the pod where it is one.
fn living(state: &Path, guard: &Path) -> Vec<String> {
    let bundles = entries(&state.join(BUNDLES)).into_iter().flat_map(|namespace| entries(&namespace));
    let mut living: Vec<String> =
        bundles.filter(|bundle| relies_on(bundle, guard)).map(|one| name(&one)).collect();
    living.sort();
    living
}

fn relies_on(bundle: &Path, guard: &Path) -> bool {
    let program =
        file::read(&bundle.join(PROGRAM), MAX_PATH).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let program = program.map(|text| PathBuf::from(text.trim()));
    let same = |program: &Path| {
        program == guard
            || fs::canonicalize(program).ok().is_some_and(|path| fs::canonicalize(guard).ok() == Some(path))
    };
    program.is_some_and(|program| same(&program))
}

fn name(bundle: &Path) -> String {
    let part = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    let id = format!("{}/{}", part(bundle.parent()), part(Some(bundle)));
    match spec::pod(bundle) {
        Some(pod) => format!("{id} (pod {}/{})", pod.namespace, pod.name),
        None => id,
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_tell_which_pod_relies_on_which_program() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = |id: &str, program: &str, spec: &str| {
            let bundle = dir.path().join(BUNDLES).join("k8s.io").join(id);
            fs::create_dir_all(&bundle).unwrap();
            fs::write(bundle.join(PROGRAM), program).unwrap();
            fs::write(bundle.join("config.json"), spec).unwrap();
        };
        let spec = r#"{"annotations": {"io.kubernetes.cri.sandbox-namespace": "ns",
            "io.kubernetes.cri.sandbox-name": "web", "other": "x"}}"#;
        bundle("b", "/opt/guard", spec);
        bundle("a", "/opt/guard\n", "{}");
        bundle("c", "/opt/containerd-shim-runc-v2", spec);
        let found = living(dir.path(), Path::new("/opt/guard"));
        assert_eq!(found, ["k8s.io/a", "k8s.io/b (pod ns/web)"]);
        assert!(living(&dir.path().join("none"), Path::new("/opt/guard")).is_empty());
    }
}
