//! The words of kubelet 1.20 to 1.37, containerd 1.6 to 2.4, dockerd, CRI-O, systemd and the kernel.

use crate::commands::doctor::logs::cause::Cause;

/// Of what an end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Pod,
    Container,
}

/// All of these words.
pub(super) type Words = &'static [&'static str];

/// The failures of an end.
pub(super) const FAILED: [Words; 55] = [
    &["Failed to kill pod"],
    &["failed to \"KillPodSandbox\""],
    &["failed to \"KillContainer\""],
    &["KillPodSandboxError"],
    &["KillContainerError"],
    &["killPodWithSyncResult failed"],
    &["killContainer", "failed"],
    &["Kill container failed"],
    &["Failed to kill container"],
    &["Failed to stop sandbox"],
    &["Failed to stop container"],
    &["Failed to remove sandbox"],
    &["Failed killing the pod"],
    &["Failed to delete container"],
    &["rror killing pod"],
    &["termination failed with gracePeriod"],
    &["Shutdown manager failed killing pod"],
    &["pod failed to evict"],
    &["StopPodSandbox", "from runtime service failed"],
    &["StopContainer", "from runtime service failed"],
    &["RemovePodSandbox", "from runtime service failed"],
    &["RemoveContainer", "from runtime service failed"],
    &["StopPodSandbox for", "failed"],
    &["StopContainer for", "failed"],
    &["RemovePodSandbox for", "failed"],
    &["RemoveContainer for", "failed"],
    &["an error occurs during waiting for container", "to be killed"],
    &["failed to stop sandbox"],
    &["failed to stop container"],
    &["failed to kill container"],
    &["failed to kill pod sandbox"],
    &["failed to kill task"],
    &["stopping the pod sandbox", "rpc error"],
    &["removing the pod sandbox", "rpc error"],
    &["stopping the container", "rpc error"],
    &["failed to forcibly stop"],
    &["failed to delete task"],
    &["failed to handle sandbox TaskExit event"],
    &["failed to handle container TaskExit event"],
    &["Failed to handle backOff event"],
    &["get state for", "deadline exceeded"],
    &["failed to cleanup rootfs mount", "busy"],
    &["failed rootfs umount"],
    &["failed to exit within", "of kill"],
    &["did not receive an exit event"],
    &["failed to stop infra container"],
    &["Killing container", "failed"],
    &["StopContainer with signal", "timed out"],
    &["timed out", "Killing...", "Stopping container"],
    &["Cannot kill container"],
    &["cannot stop container"],
    &["stop containers in parallel"],
    &["removal of container", "already in progress"],
    &["converting task to protobuf", "deadline exceeded"],
    &["error when waiting for pod", "to terminate", "timeout"],
];

/// What a healthy pod has once.
pub(super) const TRIED: [Words; 3] =
    [&["Skipping the sending of signal", "because a prior stop"], &["Kill container \""], &["FailedKillPod"]];

/// Ends of containers and pods.
pub(super) const ENDED: [(Words, Whole); 12] = [
    (&["StopPodSandbox for", "returns successfully"], Whole::Pod),
    (&["RemovePodSandbox", "returns successfully"], Whole::Pod),
    (&["Stopped pod sandbox"], Whole::Pod),
    (&["Removed pod sandbox"], Whole::Pod),
    (&["Cleaned up orphaned pod volumes dir"], Whole::Pod),
    (&["Pod fully terminated and removed from etcd"], Whole::Pod),
    (&["SyncLoop REMOVE"], Whole::Pod),
    (&["the sandbox answers again"], Whole::Pod),
    (&["StopContainer for", "returns successfully"], Whole::Container),
    (&["RemoveContainer", "returns successfully"], Whole::Container),
    (&["Stopped container"], Whole::Container),
    (&["Container exited normally"], Whole::Container),
];

/// Other causes, and causes of their own: the first that fits counts, the more telling come first.
pub(super) const CAUSES: [(Words, Cause); 66] = [
    (&["rootfs", "resource busy"], Cause::BusyRootfs),
    (&["failed to unmount target", "busy"], Cause::BusyRootfs),
    (&["failed to remove bundle rootfs"], Cause::BusyRootfs),
    (&["unable to remove filesystem", "busy"], Cause::BusyRootfs),
    (&["failed to destroy network"], Cause::Cni),
    (&["failed to remove network namespace"], Cause::Cni),
    (&["netplugin failed"], Cause::Cni),
    (&["plugin type=", "failed (delete)"], Cause::Cni),
    (&["cni plugin not initialized"], Cause::Cni),
    (&["cni config uninitialized"], Cause::Cni),
    (&["cni config not initialized"], Cause::Cni),
    (&["networkPlugin cni failed"], Cause::Cni),
    (&["failed to tear down pod", "network"], Cause::Cni),
    (&["error tearing down network"], Cause::Cni),
    (&["network is not ready"], Cause::Cni),
    (&["no space left on device"], Cause::Resources),
    (&["read-only file system"], Cause::Resources),
    (&["too many open files"], Cause::Resources),
    (&["cannot allocate memory"], Cause::Resources),
    (&["resource temporarily unavailable"], Cause::Resources),
    (&["disk quota exceeded"], Cause::Resources),
    (&["input/output error"], Cause::Resources),
    (&["structure needs cleaning"], Cause::Resources),
    (&["is reserved for"], Cause::Reserved),
    (&["failed to reserve", "name"], Cause::Reserved),
    (&["dial unix", "containerd.sock"], Cause::Engine),
    (&["dial unix", "crio.sock"], Cause::Engine),
    (&["dial unix", "docker.sock"], Cause::Engine),
    (&["dial unix", "cri-dockerd.sock"], Cause::Engine),
    (&["dial unix", "dockershim.sock"], Cause::Engine),
    (&["error reading from server: EOF"], Cause::Engine),
    (&["error reading server preface"], Cause::Engine),
    (&["server is not initialized yet"], Cause::Engine),
    (&["transport is closing"], Cause::Engine),
    (&["runc did not terminate"], Cause::Runc),
    (&["runc create failed"], Cause::Runc),
    (&["unable to signal init"], Cause::Runc),
    (&["OCI runtime", "runc"], Cause::Runc),
    (&["exec: \"runc\""], Cause::Runc),
    (&["/usr/bin/runc"], Cause::Runc),
    (&["unable to destroy cgroup"], Cause::Cgroup),
    (&["ailed to remove cgroup"], Cause::Cgroup),
    (&["ailed to delete cgroup"], Cause::Cgroup),
    (&["unable to remove path", "cgroup"], Cause::Cgroup),
    (&["/sys/fs/cgroup", "resource busy"], Cause::Cgroup),
    (&["cgroup", "resource busy"], Cause::Cgroup),
    (&["Failed to remove", "cgroup"], Cause::Cgroup),
    (&["waiting for systemd to", ".slice"], Cause::Cgroup),
    (&["UnmountVolume"], Cause::Volume),
    (&["MountVolume"], Cause::Volume),
    (&["TearDown failed for volume"], Cause::Volume),
    (&["unmounted volumes"], Cause::Volume),
    (&["/volumes/kubernetes.io"], Cause::Volume),
    (&["NodeUnpublishVolume"], Cause::Volume),
    (&["NodeUnstageVolume"], Cause::Volume),
    (&["failed to cleanup image mounts"], Cause::Volume),
    (&["transport endpoint is not connected"], Cause::Volume),
    (&["stale NFS file handle"], Cause::Volume),
    (&["stale file handle"], Cause::Volume),
    (&["failed to pull"], Cause::Image),
    (&["failed to get image"], Cause::Image),
    (&["ErrImage"], Cause::Image),
    (&["ImagePullBackOff"], Cause::Image),
    (&["container runtime is down"], Cause::Engine),
    (&["dial unix", "refused"], Cause::DeadShim),
    (&["dial unix", "no such file"], Cause::DeadShim),
];

/// What else is told of an end that failed.
pub(super) const REASONS: [(Words, Cause); 14] = [
    (&["ttrpc: closed"], Cause::DeadShim),
    (&["ttrpc: server closed"], Cause::DeadShim),
    (&["code = Unavailable", "failed to"], Cause::DeadShim),
    (&["to be killed"], Cause::NotKilled),
    (&["failed to exit within"], Cause::NotKilled),
    (&["did not receive an exit event"], Cause::NotKilled),
    (&["StopContainer with signal", "timed out"], Cause::NotKilled),
    (&["Killing..."], Cause::NotKilled),
    (&["failed to get task"], Cause::State),
    (&["failed to load task"], Cause::State),
    (&["get state for"], Cause::State),
    (&["converting task to protobuf"], Cause::State),
    (&["failed to stop sandbox container"], Cause::State),
    (&["failed to kill"], Cause::State),
];

/// It is gone already, which is what was wanted; or a plugin was to be told, which has no part in it.
pub(super) const GONE: [&str; 7] = [
    "code = NotFound",
    "No such container",
    "no such process",
    "process already finished",
    "already stopped",
    "is not running",
    "NRI failed to",
];

/// Names of gVisor's processes and shims, as the kernel and systemd have them.
pub(super) const PROCESSES: [&str; 8] = [
    "runsc",
    "containerd-shim",
    "runsc-sandbox",
    "runsc-gofer",
    "gvisor_sentry",
    "gvisor_sentry_p",
    "exe",
    "gvisor-sentry-p",
];

/// The guard's lines when it has begun to end a sandbox, and when it has ended it.
pub(super) const GUARD_ENDS: [&str; 7] = [
    "the guard ends the sandbox now",
    ", nothing is left",
    ", but this is left: ",
    "was ended by the guard",
    "hung for",
    "the guard has released this container",
    "is still being released",
];

/// And as long as its deadline runs.
pub(super) const GUARD_WAITS: [&str; 5] = [
    "has had no effect for",
    "the guard ends the sandbox in",
    "the guard releases this container by itself in",
    "is being ended",
    "not answered by the real shim within",
];
