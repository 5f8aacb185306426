//! Why a pod does not end, as far as a line tells, and what to do about each.

use serde::Serialize;

/// What stands behind a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// It was killed, and did not end.
    NotKilled,
    /// Its shim did not answer State.
    State,
    /// Its end took too long, and the line does not tell why.
    Unsaid,
    /// gVisor itself noticed that it hangs.
    Known,
    /// gVisor itself crashed.
    Crash,
    /// A process of it that SIGKILL does not end.
    Unkillable,
    /// Its shim is dead.
    DeadShim,
    /// containerd has given up a shim when it started.
    LoadShim,
    /// A shim outlived its container.
    Leaked,
    /// The name of a new one is still that of an old one.
    Reserved,
    /// Something on the node holds its rootfs.
    BusyRootfs,
    /// The kernel does not come back from it.
    Lockup,
    /// kubelet's list of containers stands still.
    Pleg,
    /// containerd does not come up.
    Start,
    /// The node does not go down.
    Shutdown,
    /// Create or Start did not return.
    Create,
    /// The guard's watchdog has found it silent, and nobody has asked for its end.
    Silent,
    /// The shim gave no metrics in time.
    Stats,
    /// The connection to a shim ended under a request.
    ShimGone,
    /// The runtime has answered, and with an error that is none of the others.
    Answered,
    /// A CNI plugin.
    Cni,
    /// A volume.
    Volume,
    /// An image.
    Image,
    /// A cgroup that cannot be removed.
    Cgroup,
    /// runc, whose pod it is.
    Runc,
    /// The node is out of disk space, memory, processes or descriptors.
    Resources,
    /// containerd, dockerd or CRI-O did not run.
    Engine,
}

impl Cause {
    /// All that are gVisor's or its shim's business: seen again and again, they are the problem.
    pub(super) fn is_own(self) -> bool {
        !self.is_other()
            && !matches!(self, Self::Crash | Self::Create | Self::Silent | Self::Stats | Self::ShimGone)
    }

    /// Other troubles, which take back what kubelet says of the same sandbox.
    pub(super) fn is_other(self) -> bool {
        use Cause::{Answered, Cgroup, Cni, Engine, Image, Resources, Runc, Volume};
        matches!(self, Answered | Cni | Volume | Image | Cgroup | Runc | Resources | Engine)
    }

    /// Whether it is no reason for a request to take too long: a cgroup is busy while its sandbox hangs.
    pub(super) fn is_no_delay(self) -> bool {
        matches!(self, Self::Answered | Self::Cgroup)
    }

    /// A silent or unkillable sandbox, which `reap --wedged` finds: one illness, whoever tells of it.
    pub(super) fn is_stuck(self) -> bool {
        matches!(self, Self::NotKilled | Self::State | Self::Unsaid)
    }

    /// About the node and no single pod.
    pub(super) fn is_of_the_node(self) -> bool {
        matches!(self, Self::Pleg | Self::Start | Self::Known | Self::Crash)
    }

    /// In words, for a table.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NotKilled => "killed, and did not end",
            Self::State => "State was not answered",
            Self::Unsaid => "its end failed or took too long",
            Self::Known => "gVisor says that it hangs",
            Self::Crash => "gVisor crashed",
            Self::Unkillable => "SIGKILL does not end it",
            Self::DeadShim => "its shim is dead",
            Self::LoadShim => "its shim could not be loaded",
            Self::Leaked => "its shim was left behind",
            Self::Reserved => "its name is still taken",
            Self::BusyRootfs => "its rootfs is busy",
            Self::Lockup => "a processor is locked up in it",
            Self::Pleg => "kubelet's PLEG stands still",
            Self::Start => "containerd does not start",
            Self::Shutdown => "the node waits for it to go down",
            Self::Create => "Create or Start took too long",
            Self::Silent => "silent, says the guard",
            Self::Stats => "Stats was not answered",
            Self::ShimGone => "the shim was gone",
            Self::Answered => "the runtime tells an error",
            Self::Cni => "a CNI plugin failed",
            Self::Volume => "a volume failed",
            Self::Image => "an image failed",
            Self::Cgroup => "its cgroup is busy",
            Self::Runc => "runc failed, or another runtime's",
            Self::Resources => "the node is out of something",
            Self::Engine => "the engine did not run",
        }
    }

    /// What is so, after "N pods: ".
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::NotKilled | Self::State | Self::Unsaid => "did not end when told to, again and again",
            Self::Known => "gVisor itself says that a sandbox hangs",
            Self::Crash => "gVisor itself crashed: that sandbox is gone, and does not hang",
            Self::Unkillable => "SIGKILL has no effect: the kernel waits for a file system or device",
            Self::DeadShim => "the shim is dead and containerd asks it in vain",
            Self::LoadShim => "containerd could not load the shim when it started, and forgets the sandbox",
            Self::Leaked => "shims outlive their containers",
            Self::Reserved => {
                "a new attempt finds its name taken: an earlier Create hangs, or left its record"
            }
            Self::BusyRootfs => {
                "the rootfs is busy: a process of the node holds it, the sandbox itself is not silent"
            }
            Self::Lockup => "the kernel does not come back from it: a processor is locked up",
            Self::Start => {
                "containerd does not come up: it waits for a shim that does not answer, or for its disk"
            }
            Self::Pleg => "kubelet's list of containers (PLEG) stands still: the runtime does not answer",
            Self::Shutdown => "the shutdown of the node waits for it",
            Self::Create => "Create or Start takes too long",
            Self::Silent => "the guard's watchdog has found it silent; nobody has asked for its end",
            Self::Stats => "the shim does not give its metrics; nobody has asked for an end",
            Self::ShimGone => "a shim was gone under a request",
            Self::Answered => "the runtime answers, and with an error of its own: the sandbox is not silent",
            Self::Cni => "it is a CNI plugin that fails, not the sandbox",
            Self::Volume => "it is a volume that fails, not the sandbox",
            Self::Image => "it is an image that fails, not the sandbox",
            Self::Cgroup => "it is a cgroup that cannot be removed, not the sandbox",
            Self::Runc => {
                "it is runc that fails, or the pods are another runtime's: gVisor has no part in it"
            }
            Self::Resources => "the node is out of disk space, memory, processes or descriptors",
            Self::Engine => "containerd, dockerd or CRI-O did not run or did not answer on its own socket",
        }
    }

    /// What to do. `name` is one of those that it is about, or stands for them.
    pub(super) fn remedy(self, name: &str) -> String {
        match self {
            Self::NotKilled | Self::State | Self::Unsaid => {
                "runsc-guard ls shows whether they are stuck now, runsc-guard reap --wedged ends them; runsc-guard \
                 doctor --fix gives their handler the guard, so that it does not come again"
                    .into()
            }
            Self::Known => format!("upgrade gVisor; runsc-guard show {name}, and runsc-guard reap {name} if it is stuck now"),
            Self::Crash => "upgrade gVisor; runsc-guard ls shows what is left of the sandbox".into(),
            Self::Unkillable => "cat /proc/PID/stack and /proc/PID/wchan tell what it waits for: bring that server or \
                                 disk back, or umount -f it; runsc-guard ls says unkillable until then"
                .into(),
            Self::DeadShim => format!(
                "runsc-guard ls shows what is left of it as orphaned, runsc-guard reap --orphaned ends that; systemctl \
                 restart containerd makes containerd forget it; crictl rmp -f {name} if it is still listed"
            ),
            Self::LoadShim => "runsc-guard ls shows what is left as orphaned, runsc-guard reap --orphaned ends it".into(),
            Self::Leaked => "runsc-guard ls shows what is left as orphaned, runsc-guard reap --orphaned ends it; if more \
                             are left, upgrade containerd (fixed in 2.0.6, 2.1.0 and 2.2.0)"
                .into(),
            Self::Reserved => format!(
                "runsc-guard show ID of the one that has the name (it stands in the line): runsc-guard reap ID if a \
                 sandbox of it is there, else crictl rmp -f ID; here {name}"
            ),
            Self::BusyRootfs => format!(
                "grep -l {name} /proc/[0-9]*/mountinfo, or fuser -vm on the rootfs, names who holds it (an agent that \
                 has the node's root mounted, a shell in it): end that process; containerd then goes on by itself"
            ),
            Self::Pleg => "time crictl pods and time crictl ps: which does not return? runsc-guard ls shows which \
                           sandbox does not answer; end that by its id with runsc-guard reap ID"
                .into(),
            Self::Lockup => "the trace below that line in journalctl -k tells where it loops: upgrade the kernel, and on a \
                             virtual machine look at the steal time; nothing ends that process before"
                .into(),
            Self::Start => "runsc-guard ls shows which sandbox does not answer: runsc-guard reap ID ends it, and \
                            containerd comes up; its last line before it was ended tells what it waited for"
                .into(),
            Self::Shutdown => "before the next reboot: runsc-guard doctor --fix gives the handler the guard, which ends \
                               its sandbox when the node goes down"
                .into(),
            Self::Create => format!("runsc-guard ls: is one of them starting for long? runsc-guard show {name}"),
            Self::Silent => format!(
                "runsc-guard show {name}, and its report; delete the pod if it does not answer again, its guard then ends it"
            ),
            Self::Stats => format!("runsc-guard show {name}"),
            Self::ShimGone => "journalctl -k -g oom: was a shim killed? runsc-guard ls shows orphans".into(),
            Self::Answered => format!("look at the error in the line; runsc-guard show {name} if it is listed still"),
            Self::Cni => "look at the CNI plugin: its own log, its daemon, /etc/cni/net.d".into(),
            Self::Volume => "look at the volume: its CSI driver's log, findmnt, the storage itself".into(),
            Self::Image => "look at the image, its registry and the disk of the node".into(),
            Self::Cgroup => "systemd-cgls shows what is still in that cgroup; kernel and systemd may have to be newer".into(),
            Self::Runc => "look at that runtime's or runc's own message; crictl inspectp tells a pod's runtime".into(),
            Self::Resources => "df -h, df -i, free, pids.max and LimitNOFILE of containerd".into(),
            Self::Engine => "systemctl status containerd (docker, crio): why did it end, or why does it not answer?".into(),
        }
    }
}
