//! What a container's `config.json` asks for on the host: places that no other file names until runsc has written its own.
//!
//! containerd removes the bundle of a Create that has failed while others still clear up after it. So the guard keeps
//! each `config.json` in its folder, by a second name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::resources::spec::MAX_SPEC;
use crate::sys::file;
use crate::{Member, Scope};

/// What is released with the container, though runsc may never have come to write it down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `linux.cgroupsPath`, in either of its forms.
    pub(crate) cgroups_path: Option<PathBuf>,
    /// A network namespace that somebody else made, absolute.
    pub(crate) network_namespace: Option<PathBuf>,
}

impl Asked {
    /// That of a member, by its bundle or by what was kept of it.
    pub(crate) fn by(scope: &Scope, member: &Member) -> Option<Self> {
        let read = |file: PathBuf| Self::in_config(&file::read(&file, MAX_SPEC).ok()?);
        read(config(&member.bundle)).or_else(|| read(kept(&scope.folder, &member.id)?))
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

/// Keeps the `config.json` of a new container in the guard's folder. A second name costs neither memory nor time; only
/// where the bundle is on another file system it is a copy.
pub fn keep(folder: &Path, member: &Member) -> io::Result<()> {
    let (config, Some(kept)) = (config(&member.bundle), kept(folder, &member.id)) else { return Ok(()) };
    forget(folder, &member.id);
    fs::hard_link(&config, &kept).or_else(|_| fs::copy(&config, &kept).map(drop))
}

/// Forgets it, with the container.
pub fn forget(folder: &Path, id: &str) {
    // What is not there need not go, and the folder goes with the guard.
    let _ = kept(folder, id).map(fs::remove_file);
}

fn config(bundle: &Path) -> PathBuf {
    bundle.join("config.json")
}

/// Nothing where no folder is known.
fn kept(folder: &Path, id: &str) -> Option<PathBuf> {
    folder.is_absolute().then(|| folder.join(format!("{id}.config.json")))
}
