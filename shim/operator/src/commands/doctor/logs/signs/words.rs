//! The words of kubelet 1.20 to 1.37, containerd 1.6 to 2.4, dockerd, CRI-O, systemd and the kernel.

use crate::commands::doctor::logs::cause::Cause;

/// Of what an end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Pod,
    Container,
}

/// All of these words, or of each one of its alternatives (`a|b`). But for `ENDED` they are in lower case, and found in
/// whichever case: dockershim and cri-dockerd, kubelet and containerd begin the same message differently.
pub(super) type Words = &'static [&'static str];

/// Whether all of them stand in `text`.
pub(super) fn has(text: &str, words: Words) -> bool {
    words.iter().all(|word| word.split('|').any(|one| text.contains(one)))
}

/// A request was not answered in time.
pub(super) const DEADLINE: &str = "deadlineexceeded|deadline exceeded|code = 4 ";

/// The failures of an end.
pub(super) const FAILED: [Words; 22] = [
    &["failed to kill pod|failed to kill container|failed to kill task|failed killing|error killing pod"],
    &["failed to \"killpodsandbox\"|failed to \"killcontainer\"|killpodsandboxerror|killcontainererror"],
    &["killpodwithsyncresult|killcontainer|killing container", "failed"],
    &["kill container failed|cannot kill container|cannot stop container|stop containers in parallel"],
    &[
        "failed to stop sandbox|failed to stop container|failed to stop infra container|failed to forcibly stop",
    ],
    &["failed to remove sandbox|failed to delete container|failed to delete task"],
    &["termination failed with graceperiod|pod failed to evict"],
    &["stoppodsandbox|stopcontainer|removepodsandbox|removecontainer", "from runtime service failed"],
    &["stoppodsandbox for|stopcontainer for|removepodsandbox for|removecontainer for", "failed"],
    &["stopping the pod sandbox|removing the pod sandbox|stopping the container", "rpc error"],
    &["an error occurs during waiting for container", "to be killed"],
    &["failed to handle sandbox taskexit event|failed to handle container taskexit event"],
    &["failed to handle backoff event"],
    &["get state for|converting task to protobuf", "deadline exceeded|context canceled"],
    &["failed to cleanup rootfs mount", "busy"],
    &["failed rootfs umount"],
    &["failed to exit within", "of kill"],
    &["did not receive an exit event"],
    &["stopcontainer with signal", "timed out"],
    &["timed out", "killing", "stopping container"],
    &["removal of container", "already in progress"],
    &["error when waiting for pod", "to terminate", "timeout"],
];

/// What a healthy pod has once.
pub(super) const TRIED: [Words; 2] =
    [&["skipping the sending of signal", "because a prior stop"], &["kill container \"|failedkillpod"]];

/// An end is asked for: containerd's words, and CRI-O's.
pub(super) const ASKED: Words =
    &["stoppodsandbox for \"|stopcontainer for \"|stopping container: |stopping pod sandbox: "];

/// kubelet has no answer when it asks how it is with a pod.
pub(super) const STATUS: Words = &["podsandboxstatus|containerstatus|error syncing pod", DEADLINE];

/// Where an error begins that somebody has answered with.
pub(super) const ANSWERS: [&str; 5] =
    ["desc = ", "err=\"", "error=\"", "error: \"", "error response from daemon: "];

/// An error of time, of silence, or of what lives still: nothing that was answered.
pub(super) const SILENCE: Words = &[
    "deadlineexceeded|deadline exceeded|code = 4 |context canceled|timed out|timeout|to be killed|failed to exit|did \
     not receive an exit event|ttrpc: closed|ttrpc: server closed|code = unavailable|deleted process|still running|must \
     be stopped|removing state|already in progress|runsc did not terminate",
];

/// Ends of containers and pods, in their own case: they take a failure back, and "in a stopped container" is none.
pub(super) const ENDED: [(Words, Whole); 4] = [
    (&["StopPodSandbox for|RemovePodSandbox", "returns successfully"], Whole::Pod),
    (
        &[
            "Stopped pod sandbox|Removed pod sandbox|Cleaned up orphaned pod volumes dir|Pod fully terminated and \
           removed from etcd|the sandbox answers again",
        ],
        Whole::Pod,
    ),
    (&["StopContainer for|RemoveContainer", "returns successfully"], Whole::Container),
    (&["Stopped container|Container exited normally"], Whole::Container),
];

/// Other causes, and causes of their own: the first that fits counts, the more telling come first.
pub(super) const CAUSES: [(Words, Cause); 28] = [
    (&["rootfs", "resource busy"], Cause::BusyRootfs),
    (&["failed to unmount target|unable to remove filesystem", "busy"], Cause::BusyRootfs),
    (&["failed to remove bundle rootfs"], Cause::BusyRootfs),
    (
        &["failed to destroy network|failed to remove network namespace|error tearing down network"],
        Cause::Cni,
    ),
    (&["cni plugin not initialized|cni config uninitialized|cni config not initialized"], Cause::Cni),
    (&["netplugin failed|networkplugin cni failed|network is not ready"], Cause::Cni),
    (&["plugin type=", "failed (delete)"], Cause::Cni),
    (&["failed to tear down pod", "network"], Cause::Cni),
    (&["netns", "resource busy"], Cause::Cni),
    (
        &["no space left on device|read-only file system|disk quota exceeded|input/output error"],
        Cause::Resources,
    ),
    (&["too many open files|cannot allocate memory|resource temporarily unavailable"], Cause::Resources),
    (&["structure needs cleaning"], Cause::Resources),
    (&["is reserved for"], Cause::Reserved),
    (&["failed to reserve", "name"], Cause::Reserved),
    (&["dial unix", "containerd.sock|crio.sock|docker.sock|cri-dockerd.sock|dockershim.sock"], Cause::Engine),
    (&["error reading from server: eof|error reading server preface"], Cause::Engine),
    (&["server is not initialized yet|transport is closing|docker daemon running"], Cause::Engine),
    (&["runc create failed|unable to signal init|exec: \"runc\"|/usr/bin/runc"], Cause::Runc),
    (&["oci runtime", "runc"], Cause::Runc),
    (&["unable to destroy cgroup|failed to delete cgroup"], Cause::Cgroup),
    (&["failed to remove|unable to remove path|resource busy", "cgroup"], Cause::Cgroup),
    (&["waiting for systemd to", ".slice"], Cause::Cgroup),
    (
        &["unmountvolume|mountvolume|teardown failed for volume|unmounted volumes|/volumes/kubernetes.io"],
        Cause::Volume,
    ),
    (&["nodeunpublishvolume|nodeunstagevolume|failed to cleanup image mounts"], Cause::Volume),
    (&["transport endpoint is not connected|stale nfs file handle|stale file handle"], Cause::Volume),
    (&["failed to pull|failed to get image|errimage|imagepullbackoff"], Cause::Image),
    (&["container runtime is down"], Cause::Engine),
    (&["dial unix", "refused|no such file"], Cause::DeadShim),
];

/// A beginning: what troubles it excuses no end. (Volumes are "not registered" just while a pod ends.)
pub(super) const BEGINS: Words = &[
    "\"startcontainer\"|createcontainer|podsandbox for pod|runpodsandbox|createpodsandbox|failed (add)|errimage|imagepull|mountvolume.setup|mountvolume.mountdevice|mountvolume.waitforattach|failedmount|unmounted volumes",
];

/// What else is told of an end that failed.
pub(super) const REASONS: [(Words, Cause); 5] = [
    (&["ttrpc: closed|ttrpc: server closed"], Cause::DeadShim),
    (&["code = unavailable", "failed to"], Cause::DeadShim),
    (&["to be killed|failed to exit within|did not receive an exit event"], Cause::NotKilled),
    (&["stopcontainer with signal|killing", "timed out"], Cause::NotKilled),
    (
        &[
            "failed to get task|failed to load task|get state for|converting task to protobuf|failed to stop sandbox \
           container|failed to kill task|failed to kill container \"",
        ],
        Cause::State,
    ),
];

/// It is gone already, which is what was wanted; or a plugin was to be told, which has no part in it.
pub(super) const GONE: Words =
    &["code = notfound|no such container|no such process|process already finished|already \
                                  stopped|is not running|nri failed to"];

/// The same, where an error ends so.
pub(super) const LOST: [&str; 2] = ["does not exist", "not found"];

/// What tells of no end that somebody has asked for.
pub(super) const ALONE: [(Words, Cause); 14] = [
    (&["shutdown manager", "killing time out"], Cause::Shutdown),
    (&["pleg is not healthy", "last seen active"], Cause::Pleg),
    (
        &["listcontainer|listpodsandbox|listimage|listmetric", "from runtime service failed", DEADLINE],
        Cause::Pleg,
    ),
    (&["unable to retrieve pods", DEADLINE], Cause::Pleg),
    (&["containerd.service", "start operation timed out"], Cause::Start),
    (&["sentry detected", "stuck task"], Cause::Known),
    (&["watchdog goroutine is stuck"], Cause::Known),
    (&["task tid: ", ", entered runsys state"], Cause::Known),
    (&["failed to load shim|unable to load shim"], Cause::LoadShim),
    (&["cleaning leaked shim process|shim might be leaked|failed to delete shim"], Cause::Leaked),
    (&["failed to shutdown shim task|failed to delete dead shim"], Cause::Leaked),
    (&["failed to clean up after shim disconnected"], Cause::Leaked),
    (&["collecting metrics for|stat task", "deadline exceeded"], Cause::Stats),
    (&["collecting metrics for", "ttrpc: closed"], Cause::ShimGone),
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
