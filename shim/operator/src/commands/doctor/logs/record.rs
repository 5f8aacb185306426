//! What is left of a line when everything around its message is taken away.

use super::time::Stamp;

/// Who wrote a line. Each has its own clock and its own share of a failure, so that their lines are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Speaker {
    Kubelet,
    Containerd,
    Docker,
    Crio,
    Kernel,
    Systemd,
    Gvisor,
    /// The Kubernetes API, as `kubectl get events` prints it.
    Events,
    /// A program that has nothing to do with this.
    Other,
}

impl Speaker {
    /// By the name that syslog, systemd, Talos or a collector gives a program. None of a name that is none of theirs.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.trim_matches(|one: char| !one.is_ascii_alphanumeric());
        let name = name.rsplit('/').next().unwrap_or(name);
        let name = name.strip_suffix(".service").or_else(|| name.strip_suffix(".log")).unwrap_or(name);
        let speaker = match name {
            "kubelet" | "k3s" | "k3s-agent" | "rke2" | "rke2-agent" | "rke2-server" | "k0s" | "k0sworker"
            | "hyperkube" | "kubelet-logs" => Self::Kubelet,
            "containerd" | "cri" | "container-runtime" | "k3s-containerd" => Self::Containerd,
            "dockerd" | "docker" | "docker-ce" => Self::Docker,
            "crio" | "cri-o" => Self::Crio,
            "kernel" | "kern" | "dmesg" => Self::Kernel,
            "systemd" | "systemd-shutdown" | "systemd-shutdow" | "systemd-logind" => Self::Systemd,
            "runsc" | "runsc-sandbox" | "runsc-gofer" | "containerd-shim-runsc-v1" | "gvisor" => Self::Gvisor,
            "kubelet-snap" => Self::Kubelet,
            _ if name.ends_with("kubelite") || name.ends_with("daemon-kubelet") => Self::Kubelet,
            _ if name.ends_with("daemon-containerd") => Self::Containerd,
            _ => return None,
        };
        Some(speaker)
    }

    /// In words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Containerd => "containerd",
            Self::Docker => "dockerd",
            Self::Crio => "CRI-O",
            Self::Kernel => "the kernel",
            Self::Systemd => "systemd",
            Self::Gvisor => "gVisor",
            Self::Events => "events",
            Self::Other => "others",
        }
    }
}

/// How the message itself is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// klog's text: `E0203 04:05:06.111222 812 file.go:1] "..." key="..."`.
    Klog,
    /// logrus' text, or the JSON of logrus, klog or zap.
    Fields,
    /// Anything else.
    Plain,
}

/// What collectors have put around a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Envelope {
    pub(super) time: Option<Stamp>,
    pub(super) speaker: Option<Speaker>,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// With its keys and values, without backslashes.
    pub(super) text: String,
    pub(super) form: Form,
    pub(super) speaker: Option<Speaker>,
    /// When, as the message itself says.
    pub(super) time: Option<Stamp>,
    /// When, as its envelope says.
    pub(super) sent: Option<Stamp>,
}

impl Record {
    /// The more certain of its times.
    pub(super) fn when(&self) -> Option<&Stamp> {
        self.time.as_ref().or(self.sent.as_ref())
    }
}
