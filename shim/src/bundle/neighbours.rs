//! What the files of others say about a container: containerd's `config.json`, the real shim's `state.json`,
//! runsc's state files. Only the few fields that are needed are looked at; a spec has tens of kilobytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{self, Config};
use crate::file;
use crate::sandbox::state_file::RunscState;

use super::{MemberRecord, Record};

/// Far beyond any OCI spec (containerd's gRPC limit is 16 MiB).
const MAX_SPEC: u64 = 16 << 20;

/// An annotation that is a flag of runsc's, where `allow-flag-override` lets it be one (runsc/specutils/specutils.go).
pub const RUNSC_ROOT: &str = "dev.gvisor.flag.root";

/// How a container belongs to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// It is the sandbox: a pod's root container, or a stand-alone one.
    Root,
    /// It runs in the sandbox with this id.
    MemberOf(String),
}

/// What `config.json` says of a container, as far as it concerns the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// How it belongs to a sandbox.
    pub kinship: Kinship,
    /// The annotations that are addressed to the guard.
    pub annotations: BTreeMap<String, String>,
    /// Where it wants runsc to work: gVisor's flag `root`, as an annotation.
    pub runsc_root: Option<String>,
}

/// Reads `config.json`. runsc makes a sandbox of its own for everything whose type is not `container`, whatever
/// sandbox id stands beside it, so the guard does too.
pub fn describe(bundle: &Path) -> Result<Description, file::ReadError> {
    let mut annotations = annotations(bundle)?;
    let kinship = annotations.kinship();
    let runsc_root = annotations.0.remove(RUNSC_ROOT).flatten();
    let ours = annotations.0.into_iter().filter(|(key, _)| key.starts_with(config::ANNOTATIONS));
    let annotations = ours.filter_map(|(key, value)| Some((key, value?))).collect();
    Ok(Description { kinship, annotations, runsc_root })
}

/// Only how the container in this bundle belongs to a sandbox.
pub fn kinship(bundle: &Path) -> Result<Kinship, file::ReadError> {
    describe(bundle).map(|description| description.kinship)
}

/// The pod's uid, by which a kubelet names the pod's folder: containerd's own word, set after all that a pod's
/// author may write (`internal/cri/server/podsandbox/sandbox_run_linux.go`).
pub fn pod_uid(bundle: &Path) -> Option<String> {
    annotations(bundle).ok()?.pod_uid()
}

fn annotations(bundle: &Path) -> Result<Annotations, file::ReadError> {
    let content = file::read(&bundle.join("config.json"), MAX_SPEC)?;
    Ok(Annotations::in_config(&content).map_err(std::io::Error::from)?)
}

/// The annotations of `config.json`.
pub(crate) struct Annotations(BTreeMap<String, Option<String>>);

impl Annotations {
    pub(crate) fn in_config(content: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default)]
            annotations: Option<BTreeMap<String, Option<String>>>,
        }
        serde_json::from_slice(content).map(|spec: Spec| Self(spec.annotations.unwrap_or_default()))
    }

    /// The keys are those that runsc itself goes by (`runsc/specutils/cri.go`): containerd's, then CRI-O's.
    pub(crate) fn kinship(&mut self) -> Kinship {
        let mut take = |containerds: &str, crios: &str| {
            self.0.remove(containerds).flatten().or_else(|| self.0.remove(crios).flatten())
        };
        let kind = take("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType");
        let sandbox = take("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID");
        match (kind.as_deref(), sandbox) {
            (Some("container"), Some(sandbox)) if !sandbox.is_empty() => Kinship::MemberOf(sandbox),
            _ => Kinship::Root,
        }
    }

    pub(crate) fn pod_uid(&mut self) -> Option<String> {
        let uid = self.0.remove("io.kubernetes.cri.sandbox-uid")??;
        let plain = uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (plain && !uid.is_empty()).then_some(uid)
    }
}

/// Where runsc works for that namespace, as the real shim was configured, from its `state.json`
/// (`pkg/shim/v1/runsc/state.go`); it is the first thing that Create writes.
pub fn state_root(bundle: &Path, namespace: &str) -> Option<PathBuf> {
    root_in_state(&file::read(&bundle.join("state.json"), MAX_SPEC).ok()?, namespace)
}

pub(crate) fn root_in_state(content: &[u8], namespace: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct State {
        options: Options,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Options {
        #[serde(default)]
        root: PathBuf,
        runsc_config: Option<Flags>,
    }
    #[derive(Deserialize)]
    struct Flags {
        root: Option<PathBuf>,
    }
    let Options { root, runsc_config } = serde_json::from_slice::<State>(content).ok()?.options;
    let flag = runsc_config.and_then(|flags| flags.root);
    let named = Config { runsc_root: root, runsc_flag_root: flag, ..Config::default() };
    Some(named.runsc_root_of(namespace)).filter(|root| root.is_absolute())
}

/// The sandbox of container `id`, from the names of runsc's state files.
pub fn sandbox_of(runsc_root: &Path, id: &str) -> Option<String> {
    state_names(runsc_root).into_iter().find(|(container, _)| container == id).map(|(_, sandbox)| sandbox)
}

/// The sandbox of container `id`, from the records in the bundles beside its own, which itself may be gone.
pub fn recorded_beside(bundle: &Path, id: &str) -> Option<String> {
    let beside = fs::read_dir(bundle.parent()?).ok()?.flatten();
    let mut records = beside.filter_map(|entry| Record::load(&entry.path()));
    records.find(|record| record.member(id).is_some()).map(|record| record.sandbox)
}

/// Every container that runsc's state files name in `sandbox`, with its bundle and the sentry's pid where
/// they can be read.
pub fn sandbox_states(runsc_root: &Path, sandbox: &str) -> Vec<MemberRecord> {
    let mut names = state_names(runsc_root);
    names.retain(|(_, group)| group == sandbox);
    let read = |(id, _): (String, String)| {
        let state = RunscState::read(runsc_root, &id, sandbox).ok();
        let sentry = state.as_ref().and_then(|state| state.sandbox.as_ref());
        MemberRecord {
            id,
            pid: sentry.map_or(0, |sentry| sentry.pid.unsigned_abs()),
            bundle: state.map(|state| state.bundle_dir).unwrap_or_default(),
            ..MemberRecord::default()
        }
    };
    names.into_iter().map(read).collect()
}

/// Container and sandbox of every `<container>_sandbox:<sandbox>.state` (`runsc/container/state_file.go`).
pub fn state_names(runsc_root: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(runsc_root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (container, sandbox) = name.strip_suffix(".state")?.rsplit_once("_sandbox:")?;
            Some((container.to_owned(), sandbox.to_owned()))
        })
        .collect()
}
