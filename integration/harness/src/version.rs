//! Which versions of containerd and gVisor there are to run against, and all that this harness has to do differently
//! for one of them.

use anyhow::{Context as _, Result, bail};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A containerd with a gVisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// As in `2.4.2`.
    pub containerd: String,
    /// The month of its source, as in `2026-09`, or `2026-09-released` in the layout of gVisor's own tarball, with
    /// a sentry and a prewarmer beside runsc; else it is one binary.
    pub gvisor: String,
}

/// The values that containerd's configuration needs from a host.
pub(crate) struct Configuration<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) socket: &'a Path,
    pub(crate) pause_image: &'a str,
    /// Name, runtime type, file.
    pub(crate) handlers: Vec<(&'a str, &'static str, PathBuf)>,
}

impl Versions {
    /// Every pair of what integration/tools pins, the newest first.
    pub fn all() -> Result<Vec<Self>> {
        let gvisors = pinned("gvisor")?;
        let pairs = pinned("containerd")?.into_iter().flat_map(|containerd| {
            gvisors.iter().map(move |gvisor| Self { containerd: containerd.clone(), gvisor: gvisor.clone() })
        });
        Ok(pairs.collect())
    }

    /// This pair.
    pub fn named(containerd: &str, gvisor: &str) -> Result<Self> {
        let is = |one: &Self| one.containerd == containerd && one.gvisor == gvisor;
        Self::all()?.into_iter().find(is).with_context(|| format!("{containerd}, {gvisor} is not pinned"))
    }

    /// The newest of both, as one binary, which is what `hack/stack` gives where it is not told otherwise.
    pub fn newest() -> Result<Self> {
        Self::all()?.into_iter().next().context("integration/tools pins nothing")
    }

    /// What these programs say of themselves.
    pub(crate) fn of(containerd: &Path, runsc: &Path) -> Result<Self> {
        let ask = |program: &Path| {
            crate::run(Command::new(program).arg("--version"), b"", Duration::from_secs(10))?.ok()
        };
        // `containerd MODULE 1.7.35 COMMIT`, `runsc version release-20260817.0`
        let (containerd, runsc) = (ask(containerd)?, ask(runsc)?);
        let number = containerd.split(' ').nth(2).context("no version of containerd")?;
        let date = runsc.split_once("release-").context("runsc is no release")?.1;
        let (Some(year), Some(month)) = (date.get(..4), date.get(4..6)) else { bail!("runsc of {date:?}") };
        Ok(Self { containerd: number.trim_start_matches('v').to_owned(), gvisor: format!("{year}-{month}") })
    }

    /// 2.3 brought version 4 of the configuration. It is tried there, and version 3, which is taken as well, with 2.4.
    fn has_server_plugins(&self) -> bool {
        self.containerd.starts_with("2.3.")
    }

    fn before_containerd_2(&self) -> bool {
        self.containerd.starts_with("1.")
    }

    /// `ctr --runtime-config-path` sends options without a type, which gVisor's shim once refused.
    pub(crate) fn ctr_cannot_name_a_configuration(&self) -> bool {
        self.gvisor.as_str() < "2026-05"
    }

    /// Where the shim of this bundle listens, and with which version of the task API, as a restarted containerd
    /// finds it.
    pub(crate) fn shim_address(&self, bundle: &Path) -> Result<(String, u64)> {
        let name = if self.before_containerd_2() { "address" } else { "bootstrap.json" };
        let file = bundle.join(name);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        if self.before_containerd_2() {
            return Ok((text, 2));
        }
        let bootstrap: serde_json::Value = serde_json::from_str(&text)?;
        let address = bootstrap["address"].as_str().context("no address")?;
        Ok((address.to_owned(), bootstrap["version"].as_u64().context("no version")?))
    }

    /// containerd's whole configuration.
    pub(crate) fn containerd_config(&self, host: &Configuration<'_>) -> String {
        let at = |name: &str| host.folder.join(name);
        let image = host.pause_image;
        let (version, cri, head, bin) = if self.before_containerd_2() {
            let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
            (2, cri, format!("[{cri}]\n  sandbox_image = {image:?}"), r#"bin_dir = "/usr/lib/cni""#)
        } else {
            let images = r#"plugins."io.containerd.cri.v1.images".pinned_images"#;
            let cri = r#"plugins."io.containerd.cri.v1.runtime""#;
            let version = if self.has_server_plugins() { 4 } else { 3 };
            let head = format!("[{images}]\n  sandbox = {image:?}\n[{cri}]");
            // 2.1 takes several folders.
            let bin = match self.containerd.starts_with("2.0.") {
                true => r#"bin_dir = "/usr/lib/cni""#,
                false => r#"bin_dirs = ["/usr/lib/cni"]"#,
            };
            (version, cri, head, bin)
        };
        let server = if version == 4 {
            let ttrpc = format!("{}.ttrpc", host.socket.display());
            let plugin = "plugins.\"io.containerd.server.v1";
            format!(
                "[{plugin}.grpc\"]\n  address = {:?}\n[{plugin}.ttrpc\"]\n  address = {ttrpc:?}",
                host.socket
            )
        } else {
            format!("[grpc]\n  address = {:?}", host.socket)
        };
        let mut text = format!(
            r#"version = {version}
root = {root:?}
state = {state:?}
{server}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt:?}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
{head}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[{cri}.cni]
  {bin}
  conf_dir = {cni:?}
"#,
            root = at("d"),
            state = at("s"),
            opt = at("opt"),
            cni = at("cni"),
        );
        if self.before_containerd_2() {
            // Its default, which is lost where others are named, and then CRI does not load.
            text +=
                &format!("[{cri}.containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n");
        }
        for (name, runtime_type, file) in &host.handlers {
            let table = format!("{cri}.containerd.runtimes.{name}");
            text += &format!(
                "[{table}]\n  runtime_type = {runtime_type:?}\n[{table}.options]\n  TypeUrl = \"io.containerd.runsc.v1.options\"\n  ConfigPath = {file:?}\n",
            );
        }
        text
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containerd {}, gVisor {}", self.containerd, self.gvisor)
    }
}

/// The versions of an upstream that integration/tools pins, the newest first.
fn pinned(upstream: &str) -> Result<Vec<String>> {
    let tools = crate::checkout().join("integration/tools");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&tools).with_context(|| tools.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        all.extend(name.strip_prefix(upstream).and_then(|rest| rest.strip_prefix('-')).map(str::to_owned));
    }
    all.sort_by_key(|version| std::cmp::Reverse(rank(version)));
    Ok(all)
}

/// The numbers of a version; another layout of the same comes before it.
fn rank(version: &str) -> (Vec<u32>, bool) {
    let parts = || version.split(['.', '-']).map(str::parse);
    (parts().flatten().collect(), parts().all(|part| part.is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_one_binary() {
        let mut all = ["2025-05", "2026-09-released", "2026-09", "2026-10"];
        all.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        assert_eq!(all, ["2026-10", "2026-09", "2026-09-released", "2025-05"]);
        assert!(!Versions::newest().unwrap().gvisor.contains("released"));
        assert_eq!(Versions::all().unwrap().len(), 6 * 4, "what hack/docs/versions.md says");
    }
}
