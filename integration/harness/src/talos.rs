//! The Talos extension as `hack/talos/build` builds it, and Talos' own code to judge it by.

use crate::{AT_LAST, checkout, run};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

/// Builds of Rust and Go, on a machine that does other things too.
const BUILD: Duration = Duration::from_secs(1800);

/// Builds what `hack/talos/build` builds and returns the folder, which holds `extension` and `operator`.
pub fn build() -> Result<PathBuf> {
    let output = run(&mut Command::new(checkout().join("hack/talos/build")), b"", BUILD)?.ok()?;
    let first = output.split_whitespace().next().context("hack/talos/build printed nothing")?;
    Ok(Path::new(first).parent().context("no folder")?.to_owned())
}

/// `hack/package/oci-image` with these arguments; the digest that it prints.
pub fn oci_image(arguments: &[&str], umask: &str) -> Result<String> {
    let program = checkout().join("hack/package/oci-image");
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask "$1"; shift; exec "$@""#, "sh", umask]).arg(program).args(arguments);
    Ok(run(&mut command, b"", AT_LAST)?.ok()?.trim().to_owned())
}

/// One image of a layout.
#[derive(Debug)]
pub struct Image {
    /// As in the index: `amd64`.
    pub architecture: String,
    /// Its configuration.
    pub config: Value,
    layer: PathBuf,
}

impl Image {
    /// The images of a layout; every digest and size is checked.
    pub fn all(layout: &Path) -> Result<Vec<Self>> {
        let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let [top] = manifests(&index)? else { bail!("not one thing: {index}") };
        if text(&top["mediaType"])?.ends_with(".index.v1+json") {
            let index = blob_json(layout, top)?;
            manifests(&index)?.iter().map(|entry| Self::read(layout, entry)).collect()
        } else {
            Ok(vec![Self::read(layout, top)?])
        }
    }

    fn read(layout: &Path, entry: &Value) -> Result<Self> {
        let manifest = blob_json(layout, entry)?;
        let config = blob_json(layout, &manifest["config"])?;
        let [layer] = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            bail!("not one layer: {manifest}");
        };
        let architecture = text(&entry["platform"]["architecture"])?.to_owned();
        ensure!(config["architecture"] == architecture.as_str() && config["os"] == "linux", "{config}");
        Ok(Self { architecture, config, layer: blob(layout, layer)? })
    }

    /// Unpacks it as root: owners and modes are the image's.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new("tar");
        command.args(["-x", "-z", "-p", "--same-owner", "-C"]).arg(folder).arg("-f").arg(&self.layer);
        run(&mut command, b"", AT_LAST)?.ok().map(drop)
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}

fn manifests(index: &Value) -> Result<&[Value]> {
    index["manifests"].as_array().map(Vec::as_slice).with_context(|| format!("no index: {index}"))
}

/// The file that a descriptor names; it is what the descriptor says.
fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = text(&descriptor["digest"])?;
    let file = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(digest == format!("sha256:{hash}") && descriptor["size"] == bytes.len(), "{descriptor}: {hash}");
    Ok(file)
}

fn blob_json(layout: &Path, descriptor: &Value) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(blob(layout, descriptor)?)?)?)
}

/// What Talos' own code says of the extension unpacked in `folder`, on that version of Talos.
pub fn check(folder: &Path, version: &str) -> Result<()> {
    judge("check", &[folder.as_os_str(), version.as_ref()]).map(drop)
}

/// The parts `*.part` of `folder`, merged as Talos merges /etc/cri/conf.d.
pub fn merge(folder: &Path) -> Result<String> {
    judge("merge", &[folder.as_os_str()])
}

/// Runs `integration/tools/talos`, which is built once per process, and then comes from Go's own cache.
fn judge(verb: &str, arguments: &[&std::ffi::OsStr]) -> Result<String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build_judge().map_err(|error| format!("{error:#}")));
    let program = built.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    run(Command::new(program).arg(verb).args(arguments), b"", AT_LAST)?.ok()
}

fn build_judge() -> Result<PathBuf> {
    let checkout = checkout();
    let program = checkout.join("target/talos-judge");
    let mut command = Command::new("go");
    command.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&program).arg(".");
    command.current_dir(checkout.join("integration/tools/talos")).env("CGO_ENABLED", "0");
    run(&mut command, b"", BUILD)?.ok().context("the judge of extensions cannot be built")?;
    Ok(program)
}
