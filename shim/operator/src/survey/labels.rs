//! Whether a bundle is a shim's.

use std::path::Path;

use crate::containerd::BUNDLES;

/// What a shim leaves in a bundle: its socket's address (all containerds), its bootstrap answer (2.x), its pid,
/// the guard's record.
const SHIMS: [&str; 4] = ["address", "bootstrap.json", "shim.pid", runsc_guard_node::bundle::RECORD];

/// Whether a shim started what has this bundle.
pub(crate) fn is_managed(bundle: &Path) -> bool {
    bundle.components().any(|part| part.as_os_str() == BUNDLES)
        || SHIMS.iter().any(|file| bundle.join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_bundle_tells_whether_a_shim_made_it() {
        let bundle = tempfile::tempdir().unwrap();
        assert!(!is_managed(bundle.path()));
        fs::write(bundle.path().join("address"), "unix:///x").unwrap();
        assert!(is_managed(bundle.path()));
        assert!(is_managed(Path::new("/run/containerd/io.containerd.runtime.v2.task/k8s.io/gone")));
    }
}
