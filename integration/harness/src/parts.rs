//! Where the real parts are. A missing part is an error that says how to get it, never a skipped test.

use crate::{Versions, checkout};
use anyhow::{Context as _, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The programs under test and around it.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What they are.
    pub versions: Versions,
    /// containerd, the daemon.
    pub containerd: PathBuf,
    /// containerd's own client.
    pub ctr: PathBuf,
    /// gVisor's runtime command.
    pub runsc: PathBuf,
    /// The real shim, unmodified: what the guard runs.
    pub real_shim: PathBuf,
    /// The real shim as the unguarded handler runs it: the same, save where CAP_SYS_RESOURCE is missing (see
    /// `hack/stack`).
    pub unguarded_shim: PathBuf,
    /// The guard.
    pub guard: PathBuf,
}

impl Parts {
    /// The newest of what is pinned, built by `hack/stack` where it is not yet there; of containerd and gVisor another
    /// where `RUNSC_GUARD_CONTAINERD` or `RUNSC_GUARD_GVISOR` names one.
    pub fn pinned() -> Result<Self> {
        let named = |variable: &str| std::env::var(variable).ok();
        let newest = Versions::newest()?;
        let containerd = named("RUNSC_GUARD_CONTAINERD").unwrap_or(newest.containerd);
        let gvisor = named("RUNSC_GUARD_GVISOR").unwrap_or(newest.gvisor);
        Self::of(Versions::named(&containerd, &gvisor)?)
    }

    /// The same of these versions.
    pub fn of(versions: Versions) -> Result<Self> {
        let bin = stack(&["--containerd", &versions.containerd, "--gvisor", &versions.gvisor])?;
        let tolerant = bin.with_file_name("bin-tolerant").join("containerd-shim-runsc-v1");
        let real_shim = bin.join("containerd-shim-runsc-v1");
        Ok(Self {
            versions,
            containerd: bin.join("containerd"),
            ctr: bin.join("ctr"),
            runsc: bin.join("runsc"),
            unguarded_shim: if tolerant.exists() { tolerant } else { real_shim.clone() },
            real_shim,
            guard: guard(checkout())?,
        })
    }

    /// The parts that are installed on this machine, from PATH.
    pub fn system() -> Result<Self> {
        let (containerd, runsc) = (on_path("containerd")?, on_path("runsc")?);
        let real_shim = on_path("containerd-shim-runsc-v1")?;
        Ok(Self {
            versions: Versions::of(&containerd, &runsc)?,
            containerd,
            ctr: on_path("ctr")?,
            runsc,
            unguarded_shim: real_shim.clone(),
            real_shim,
            guard: guard(checkout())?,
        })
    }
}

/// The kubelet, built where it is not yet there.
pub(crate) fn kubelet() -> Result<PathBuf> {
    Ok(stack(&["--kubelet"])?.join("kubelet"))
}

/// The conformance tests of CRI, built where they are not yet there.
pub fn critest() -> Result<PathBuf> {
    Ok(stack(&["--critest"])?.join("critest"))
}

/// The folder of `docker` and `dockerd`, built where they are not yet there.
pub(crate) fn docker() -> Result<PathBuf> {
    stack(&["--docker"])
}

/// The folders of all that a cluster consists of beside [`Parts`]: Kubernetes, helm and crane.
pub fn cluster_parts() -> Result<Vec<PathBuf>> {
    let tool = |name: &str| printed_by("hack/lib/go-tool", &[name]);
    Ok(vec![stack(&["--cluster"])?, tool("helm")?, tool("crane")?])
}

/// The folder of the definitions of the Prometheus operator's monitors, fetched where it is not yet there.
pub fn monitors() -> Result<PathBuf> {
    printed_by("hack/kubernetes/monitors", &[])
}

/// What `hack/stack` prints: the folder of what it was asked for.
fn stack(arguments: &[&str]) -> Result<PathBuf> {
    printed_by("hack/stack", arguments)
}

fn printed_by(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let output = Command::new(checkout().join(script))
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {script}"))?;
    if !output.status.success() {
        bail!("{script} failed: {}", output.status);
    }
    let stdout = String::from_utf8(output.stdout)?;
    Ok(PathBuf::from(stdout.lines().last().with_context(|| format!("{script} printed nothing"))?))
}

/// The path of the guard's binary, which only has to exist when a guarded handler is used.
fn guard(checkout: &Path) -> Result<PathBuf> {
    match std::env::var_os("RUNSC_GUARD_BIN") {
        Some(path) => std::path::absolute(&path).context("RUNSC_GUARD_BIN"),
        None => Ok(checkout.join("target/x86_64-unknown-linux-musl/release/containerd-shim-runsc-guard-v2")),
    }
}

fn on_path(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not on PATH"))
}
