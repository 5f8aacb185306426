//! What containerd's `config.json` says of a container. Only the few fields that are needed are looked at: a spec has
//! tens of kilobytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys::file;

/// Far beyond any OCI spec (containerd's gRPC limit is 16 MiB).
pub const MAX_SPEC: u64 = 16 << 20;

/// An annotation that is a flag of runsc's, where `allow-flag-override` lets it be one (runsc/specutils/specutils.go).
pub const RUNSC_ROOT: &str = "dev.gvisor.flag.root";

/// How a container belongs to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is the sandbox: a pod's root container, or a stand-alone one.
    Root,
    /// It runs in the sandbox with this id.
    MemberOf(String),
}

/// What `config.json` says of a container, as far as it concerns the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// How it belongs to a sandbox.
    pub membership: Membership,
    /// The annotations whose keys begin as was asked.
    pub annotations: BTreeMap<String, String>,
    /// Where it wants runsc to work: gVisor's flag `root`, as an annotation.
    pub runsc_root: Option<String>,
}

/// Reads `config.json`. runsc makes a sandbox of its own for everything whose type is not `container`, whatever
/// sandbox id stands beside it, so the guard does too.
pub fn describe(bundle: &Path, prefix: &str) -> Result<Description, file::ReadError> {
    let mut annotations = annotations(bundle)?;
    let membership = annotations.membership();
    let runsc_root = annotations.0.remove(RUNSC_ROOT).flatten();
    let ours = annotations.0.into_iter().filter(|(key, _)| key.starts_with(prefix));
    let annotations = ours.filter_map(|(key, value)| Some((key, value?))).collect();
    Ok(Description { membership, annotations, runsc_root })
}

/// Only how the container in this bundle belongs to a sandbox.
pub fn membership(bundle: &Path) -> Result<Membership, file::ReadError> {
    Ok(annotations(bundle)?.membership())
}

/// The pod's uid, by which a kubelet names the pod's folder: containerd's own word, set after all that a pod's
/// author may write (`internal/cri/server/podsandbox/sandbox_run_linux.go`).
pub fn pod_uid(bundle: &Path) -> Option<String> {
    annotations(bundle).ok()?.pod_uid()
}

/// A pod, as CRI calls it in the bundle of its sandbox and of its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

/// The pod that the container in this bundle belongs to, if it belongs to one.
pub fn pod(bundle: &Path) -> Option<Pod> {
    annotations(bundle).ok()?.pod()
}

fn annotations(bundle: &Path) -> Result<Annotations, file::ReadError> {
    let content = file::read(&bundle.join("config.json"), MAX_SPEC)?;
    Ok(Annotations::in_config(&content).map_err(std::io::Error::from)?)
}

/// The annotations of `config.json`.
pub struct Annotations(BTreeMap<String, Option<String>>);

impl Annotations {
    /// Those in the content of a `config.json`.
    pub fn in_config(content: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default)]
            annotations: Option<BTreeMap<String, Option<String>>>,
        }
        serde_json::from_slice(content).map(|spec: Spec| Self(spec.annotations.unwrap_or_default()))
    }

    /// The keys are those that runsc itself goes by (`runsc/specutils/cri.go`): containerd's, then CRI-O's.
    pub fn membership(&mut self) -> Membership {
        let mut take = |containerds: &str, crios: &str| {
            self.0.remove(containerds).flatten().or_else(|| self.0.remove(crios).flatten())
        };
        let kind = take("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType");
        let sandbox = take("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID");
        match (kind.as_deref(), sandbox) {
            (Some("container"), Some(sandbox)) if !sandbox.is_empty() => Membership::MemberOf(sandbox),
            _ => Membership::Root,
        }
    }

    /// See [`pod`]: containerd's names, then CRI-O's.
    fn pod(&mut self) -> Option<Pod> {
        let mut take = |name: &str| self.0.remove(name).flatten();
        let name = take("io.kubernetes.cri.sandbox-name").or_else(|| take("io.kubernetes.cri-o.KubeName"))?;
        let namespace =
            take("io.kubernetes.cri.sandbox-namespace").or_else(|| take("io.kubernetes.cri-o.Namespace"));
        let uid = take("io.kubernetes.cri.sandbox-uid");
        Some(Pod { name, namespace: namespace.unwrap_or_default(), uid: uid.unwrap_or_default() })
    }

    /// See [`pod_uid`].
    pub fn pod_uid(&mut self) -> Option<String> {
        let uid = self.0.remove("io.kubernetes.cri.sandbox-uid")??;
        let plain = uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (plain && !uid.is_empty()).then_some(uid)
    }
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

    fn membership_of(config: &str) -> Result<Membership, file::ReadError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        membership(dir.path())
    }

    #[test]
    fn membership_is_what_runsc_makes_of_it() {
        let member = Membership::MemberOf("pod1".into());
        for (annotations, expected) in [
            ("", Membership::Root),
            (
                r#""io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "pod1""#,
                Membership::Root,
            ),
            (r#""io.kubernetes.cri.sandbox-id": "pod1""#, Membership::Root),
            (r#""io.kubernetes.cri.container-type": "container""#, Membership::Root),
            (
                r#""io.kubernetes.cri.container-type": "container", "x": "y", "io.kubernetes.cri.sandbox-id": "pod1""#,
                member.clone(),
            ),
            (
                r#""io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "pod1""#,
                member,
            ),
        ] {
            let config = format!(r#"{{"ociVersion": "1.2.0", "annotations": {{{annotations}}}}}"#);
            assert_eq!(membership_of(&config).unwrap(), expected, "{annotations}");
        }
        assert_eq!(membership_of("{}").unwrap(), Membership::Root);
        assert_eq!(membership_of(r#"{"annotations": null}"#).unwrap(), Membership::Root);
        assert!(membership_of("").is_err());
        assert!(matches!(membership(Path::new("/nowhere")), Err(file::ReadError::Absent)));
    }
}
