//! What CRI wrote about a pod into the bundle of its sandbox (`config.json`, annotations).

use std::path::Path;

use runsc_guard_sandbox::sys::file;
use serde::Deserialize;

use crate::survey::model::Pod;

/// Far beyond any OCI spec.
const LIMIT: u64 = 16 << 20;
/// What a shim leaves in a bundle: its socket's address (all containerds), its bootstrap answer (2.x), its pid,
/// the guard's record.
const SHIMS: [&str; 4] = ["address", "bootstrap.json", "shim.pid", runsc_guard_node::bundle::RECORD];
/// Part of the path of every bundle of containerd's.
const BUNDLES: &str = "io.containerd.runtime.v2.task";

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: Annotations,
}

/// containerd's names, then CRI-O's.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "io.kubernetes.cri.sandbox-name", alias = "io.kubernetes.cri-o.KubeName")]
    name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace", alias = "io.kubernetes.cri-o.Namespace")]
    namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-uid")]
    uid: Option<String>,
}

/// The pod that the sandbox with this bundle is, if it is one.
pub(crate) fn pod(bundle: &Path) -> Option<Pod> {
    let spec: Spec = serde_json::from_slice(&file::read(&bundle.join("config.json"), LIMIT).ok()?).ok()?;
    let Annotations { name, namespace, uid } = spec.annotations;
    Some(Pod { name: name?, namespace: namespace.unwrap_or_default(), uid: uid.unwrap_or_default() })
}

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
    fn a_pods_name_stands_in_its_config() {
        let bundle = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(bundle.path().join("config.json"), text).unwrap();
        assert_eq!(pod(bundle.path()), None);
        write(
            r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":
            "shop","io.kubernetes.cri.sandbox-uid":"u1","x":"y"},"process":{"args":["sleep"]}}"#,
        );
        let expected = Pod { name: "web".into(), namespace: "shop".into(), uid: "u1".into() };
        assert_eq!(pod(bundle.path()), Some(expected));
        for nothing in [r#"{"annotations":{}}"#, "{}", "", "not json"] {
            write(nothing);
            assert_eq!(pod(bundle.path()), None, "{nothing}");
        }
    }

    #[test]
    fn a_bundle_tells_whether_a_shim_made_it() {
        let bundle = tempfile::tempdir().unwrap();
        assert!(!is_managed(bundle.path()));
        fs::write(bundle.path().join("address"), "unix:///x").unwrap();
        assert!(is_managed(bundle.path()));
        assert!(is_managed(Path::new("/run/containerd/io.containerd.runtime.v2.task/k8s.io/gone")));
    }
}
