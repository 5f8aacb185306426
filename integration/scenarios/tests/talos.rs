//! The Talos extension: what Talos demands of it, by Talos' own code where that can be had, and what its part of the
//! CRI configuration does in a real containerd. Talos itself cannot run here.

mod image;
mod node;

use anyhow::{Result, ensure};
use harness::talos::{self, Image};
use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

const BINARIES: [&str; 2] = ["containerd-shim-runsc-guard-v2", "runsc-guard"];

/// What `hack/talos/build` has built, and below it the extension of each architecture, unpacked as Talos unpacks it.
fn built() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let built = talos::build()?;
    let unpacked = built.join("unpacked");
    if unpacked.exists() {
        std::fs::remove_dir_all(&unpacked)?;
    }
    for image in Image::all(&built.join("extension"))? {
        image.unpack(&unpacked.join(&image.architecture))?;
    }
    Ok(built)
}

/// Both, save where `RUNSC_GUARD_BIN` names a guard, which is for this machine.
fn architectures() -> &'static [&'static str] {
    if std::env::var_os("RUNSC_GUARD_BIN").is_some() { &["amd64"] } else { &["amd64", "arm64"] }
}

fn extension(architecture: &str) -> Result<PathBuf> {
    Ok(built()?.join("unpacked").join(architecture))
}

/// Everything below `folder`, as `MODE PATH` with the letter of what it is, in order.
fn listing(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            let data = path.symlink_metadata()?;
            ensure!((data.uid(), data.gid()) == (0, 0), "{} is not root's", path.display());
            let kind = match data.file_type() {
                kind if kind.is_dir() => 'd',
                kind if kind.is_file() => 'f',
                _ => '?',
            };
            let name = path.strip_prefix(folder)?.display();
            found.push(format!("{name} {kind} {:o}", data.permissions().mode() & 0o7777));
            if kind == 'd' {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
