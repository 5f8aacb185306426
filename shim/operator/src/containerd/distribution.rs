//! Whose containerd it is. Each distribution has its own place for the socket, the configuration and what is added to it,
//! and its own words for a restart. Some write containerd's configuration anew at each start: that is never edited, since
//! it would be gone; what it is made from is. Pure, but for one look at unit files.
//!
//! | | containerd reads | what is added goes into |
//! | --- | --- | --- |
//! | k3s, RKE2 | `agent/etc/containerd/config.toml`, rendered | `config-v3.toml.d` where that imports it, else the template |
//! | k0s | `/etc/k0s/containerd.toml`, rendered | `/etc/k0s/containerd.d`, which k0s itself merges |
//! | MicroK8s | `args/containerd.toml`, rendered | `args/containerd-template.toml` |
//! | kOps | `/etc/containerd/config.toml`, rendered by nodeup | the cluster's specification |
//! | Talos | `/etc/cri/containerd.toml`, rendered | a system extension |
//! | Gardener, others | `/etc/containerd/config.toml` | a folder that it imports, else itself |

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// Who has set containerd up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// containerd's own package, kubeadm, kind
    #[default]
    Containerd,
    /// k3s
    K3s,
    /// RKE2
    Rke2,
    /// k0s
    K0s,
    /// MicroK8s
    Microk8s,
    /// Gardener
    Gardener,
    /// kOps
    Kops,
    /// Talos
    Talos,
    /// The containerd that Docker starts for itself
    Docker,
}

/// What every node of one distribution has in common.
struct Row {
    name: &'static str,
    socket: &'static str,
    config: &'static str,
    /// For programs: on containerd's PATH, and writable.
    bin_dir: &'static str,
    /// For the handler's ConfigPath.
    runsc_config: &'static str,
    /// Of systemd, the first is the usual one.
    units: &'static [&'static str],
}

/// Where most look.
const USUAL: Row = Row {
    name: "containerd",
    socket: "/run/containerd/containerd.sock",
    config: super::files::USUAL,
    bin_dir: "/usr/local/bin",
    runsc_config: "/etc/containerd/runsc.toml",
    units: &["containerd"],
};
const K3S: Row = Row {
    name: "k3s",
    socket: "/run/k3s/containerd/containerd.sock",
    config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    runsc_config: "/var/lib/rancher/k3s/agent/etc/containerd/runsc.toml",
    units: &["k3s", "k3s-agent"],
    ..USUAL
};
const RKE2: Row = Row {
    name: "RKE2",
    config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    runsc_config: "/var/lib/rancher/rke2/agent/etc/containerd/runsc.toml",
    units: &["rke2-server", "rke2-agent"],
    ..K3S
};
const K0S: Row = Row {
    name: "k0s",
    socket: "/run/k0s/containerd.sock",
    config: "/etc/k0s/containerd.toml",
    runsc_config: "/etc/k0s/runsc.toml",
    units: &["k0sworker", "k0scontroller"],
    ..USUAL
};
const MICROK8S: Row = Row {
    name: "MicroK8s",
    socket: "/var/snap/microk8s/common/run/containerd.sock",
    config: "/var/snap/microk8s/current/args/containerd.toml",
    // Not in `current`, which another revision replaces.
    runsc_config: "/var/snap/microk8s/common/runsc.toml",
    units: &["snap.microk8s.daemon-containerd"],
    ..USUAL
};
const GARDENER: Row = Row { name: "Gardener", bin_dir: "/var/bin/containerruntimes", ..USUAL };
const KOPS: Row = Row { name: "kOps", ..USUAL };
const TALOS: Row = Row { name: "Talos", config: "/etc/cri/containerd.toml", ..USUAL };
const DOCKER: Row = Row {
    name: "Docker",
    socket: "/run/docker/containerd/containerd.sock",
    config: "/run/docker/containerd/containerd.toml",
    units: &["docker"],
    ..USUAL
};

/// Unit files are in these.
const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// kOps' own service, and its folder.
const KOPS_SIGNS: [&str; 3] = [
    "/opt/kops",
    "/lib/systemd/system/kops-configuration.service",
    "/etc/systemd/system/kops-configuration.service",
];

/// What a containerd's process tells of whose it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signs {
    /// Its command line.
    pub(crate) argv: Vec<OsString>,
    /// What it runs.
    pub(crate) exe: PathBuf,
    /// Its PATH.
    pub(crate) path: OsString,
    /// Its socket.
    pub(crate) address: PathBuf,
    /// The service that it is in, without `.service`.
    pub(crate) unit: Option<String>,
}

impl Distribution {
    /// The sockets at which one of these could be met, Kubernetes' own first: where k3s runs, a containerd beside it is
    /// Docker's or nobody's.
    pub(crate) const SEARCHED: [Self; 5] =
        [Self::K3s, Self::K0s, Self::Microk8s, Self::Containerd, Self::Docker];

    /// Whose this is.
    pub(crate) fn of(signs: &Signs, exists: impl Fn(&Path) -> bool) -> Self {
        let told: Vec<&[u8]> = signs
            .argv
            .iter()
            .map(|one| one.as_bytes())
            .chain([signs.exe.as_os_str().as_bytes(), signs.address.as_os_str().as_bytes()])
            .collect();
        let names = |place: &str| told.iter().any(|one| contains(one, place.as_bytes()));
        let is_in = |units: &[&str]| signs.unit.as_deref().is_some_and(|unit| units.contains(&unit));
        if names("/rancher/rke2/") || is_in(RKE2.units) {
            Self::Rke2
        } else if names("/rancher/k3s/") || names("/run/k3s/") || is_in(K3S.units) {
            Self::K3s
        } else if names("/etc/k0s/") || names("/run/k0s/") || names("/var/lib/k0s/") || is_in(K0S.units) {
            Self::K0s
        } else if names("/snap/microk8s/") || is_in(MICROK8S.units) {
            Self::Microk8s
        } else if std::env::split_paths(&signs.path).any(|one| one == Path::new(GARDENER.bin_dir)) {
            Self::Gardener
        } else if names("config-kops.toml") || KOPS_SIGNS.iter().any(|sign| exists(Path::new(sign))) {
            Self::Kops
        } else if names(TALOS.config) {
            Self::Talos
        } else if names("/run/docker/") {
            Self::Docker
        } else {
            Self::Containerd
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// containerd's socket.
    pub(crate) fn socket(self) -> &'static Path {
        Path::new(self.row().socket)
    }

    /// containerd's configuration, unless its command line names another.
    pub(crate) fn config(self) -> &'static Path {
        Path::new(self.row().config)
    }

    /// A folder on containerd's PATH for programs.
    pub(crate) fn bin_dir(self) -> &'static Path {
        Path::new(self.row().bin_dir)
    }

    /// Where a handler's ConfigPath points if nobody has said otherwise.
    pub(crate) fn runsc_config(self) -> &'static Path {
        Path::new(self.row().runsc_config)
    }

    /// What restarts containerd: the service that it is in, where that is one of these, else one of which there is a file.
    pub(crate) fn restart(self, unit: Option<&str>, exists: impl Fn(&Path) -> bool) -> String {
        let units = self.row().units;
        let its = units.iter().find(|one| unit == Some(one));
        let is_there = |one: &&&str| {
            UNIT_FOLDERS.iter().any(|folder| exists(&Path::new(folder).join(format!("{one}.service"))))
        };
        let unit = its.or_else(|| units.iter().find(is_there)).or(units.first()).copied().unwrap_or_default();
        match unit.strip_prefix("snap.") {
            Some(service) => format!("snap restart {service}"),
            None => format!("systemctl restart {unit}"),
        }
    }

    /// What is added to its containerd's configuration, and where, given what containerd reads and how it begins.
    pub(crate) fn place(self, config: &Path, text: &str, version: u32) -> Place {
        match self {
            Self::K3s | Self::Rke2 => Place::Template {
                file: config.with_file_name(if version >= 3 {
                    "config-v3.toml.tmpl"
                } else {
                    "config.toml.tmpl"
                }),
                base: Some("{{ template \"base\" . }}\n"),
            },
            Self::Microk8s => {
                Place::Template { file: config.with_file_name("containerd-template.toml"), base: None }
            }
            Self::K0s if text.starts_with("# k0s_managed=true") => {
                Place::Folder(config.with_file_name("containerd.d"))
            }
            Self::Kops => Place::Elsewhere(
                "nodeup writes it anew at each boot: it belongs under spec.containerd.configAdditions of the cluster \
                 (`kops edit cluster`), each key with its path",
            ),
            Self::Talos => Place::Elsewhere(
                "Talos makes it anew at each boot: the guard comes as a system extension (hack/docs/talos.md)",
            ),
            Self::Docker => {
                Place::Elsewhere("Docker's runtimes are in its daemon.json (hack/docs/docker.md)")
            }
            Self::K0s | Self::Gardener | Self::Containerd => Place::Itself,
        }
    }

    fn row(self) -> &'static Row {
        match self {
            Self::Containerd => &USUAL,
            Self::K3s => &K3S,
            Self::Rke2 => &RKE2,
            Self::K0s => &K0S,
            Self::Microk8s => &MICROK8S,
            Self::Gardener => &GARDENER,
            Self::Kops => &KOPS,
            Self::Talos => &TALOS,
            Self::Docker => &DOCKER,
        }
    }
}

/// See [`Distribution::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The configuration itself, or a folder that it imports.
    Itself,
    /// A folder that the configuration imports; where it imports none, this, from which it is made at each start.
    Template {
        /// Which.
        file: PathBuf,
        /// What such a file is without anything of its own; none where it must be there.
        base: Option<&'static str>,
    },
    /// The distribution itself merges each file of this folder into the configuration.
    Folder(PathBuf),
    /// Nowhere on this node; where, in words.
    Elsewhere(&'static str),
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
