//! What a container's `config.json` asks for on the host: places that no other file names until runsc has written its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::resources::spec::MAX_SPEC;
use crate::sys::file;

/// What is released with the container, though runsc may never have come to write it down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `linux.cgroupsPath`, in either of its forms.
    pub cgroups_path: Option<PathBuf>,
    /// A network namespace that somebody else made, absolute.
    pub network_namespace: Option<PathBuf>,
}

impl Asked {
    /// That of the container in this bundle; nothing where there is no `config.json` that can be read.
    pub fn in_bundle(bundle: &Path) -> Option<Self> {
        Self::in_config(&file::read(&bundle.join("config.json"), MAX_SPEC).ok()?)
    }

    /// That in the content of a `config.json`.
    pub(crate) fn in_config(content: &[u8]) -> Option<Self> {
        let linux = serde_json::from_slice::<Config>(content).ok()?.linux.unwrap_or_default();
        let mut namespaces = linux.namespaces.into_iter().flatten();
        let network = namespaces.find(|namespace| namespace.kind == "network");
        let network_namespace = network.and_then(|one| one.path).filter(|path| path.is_absolute());
        Some(Self { cgroups_path: linux.cgroups_path, network_namespace })
    }
}

#[derive(Deserialize)]
struct Config {
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<PathBuf>,
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<PathBuf>,
}
