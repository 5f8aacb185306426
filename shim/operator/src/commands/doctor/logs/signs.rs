//! Which lines tell of a pod that does not end, of one that has ended at last, and of other troubles. Pure; the words
//! are those of kubelet 1.20 to 1.37, containerd 1.6 to 2.4, dockerd, CRI-O, systemd, the kernel and the guard.

use super::cause::Cause;
use crate::known::{self, Hang};

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// An end was tried, and failed.
    Failed(Cause),
    /// An end was tried: that is the problem only if it is tried again and again.
    Tried(Cause),
    /// Another trouble, or a hint.
    Note(Cause),
    /// It is over: the whole pod, or the one container that the line names.
    Ended(Whole),
    /// The guard is at work: a deadline runs.
    GuardWaits,
    /// The guard has begun to end it, or has ended it.
    GuardEnds,
    /// gVisor tells of a hang that is known.
    Hang(&'static Hang),
}

/// Of what an end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Pod,
    Container,
}

/// All of these words.
type Words = &'static [&'static str];

/// The failures of an end.
const FAILED: [Words; 47] = [
    &["Failed to kill pod"],
    &["failed to \"KillPodSandbox\""],
    &["failed to \"KillContainer\""],
    &["KillPodSandboxError"],
    &["KillContainerError"],
    &["killPodWithSyncResult failed"],
    &["killContainer for pod failed"],
    &["Kill container failed"],
    &["Failed to kill container"],
    &["Failed to stop sandbox"],
    &["Failed to stop container"],
    &["Failed to remove sandbox"],
    &["Failed killing the pod"],
    &["Failed to delete container"],
    &["rror killing pod"],
    &["Container termination failed with gracePeriod"],
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
];

/// What a healthy pod has once.
const TRIED: [Words; 3] = [
    &["Skipping the sending of signal", "because a prior stop"],
    &["msg=\"Kill container"],
    &["FailedKillPod"],
];

/// Ends of containers and pods.
const ENDED: [(Words, Whole); 10] = [
    (&["StopPodSandbox for", "returns successfully"], Whole::Pod),
    (&["RemovePodSandbox", "returns successfully"], Whole::Pod),
    (&["Stopped pod sandbox"], Whole::Pod),
    (&["Removed pod sandbox"], Whole::Pod),
    (&["Cleaned up orphaned pod volumes dir"], Whole::Pod),
    (&["Pod fully terminated and removed from etcd"], Whole::Pod),
    (&["StopContainer for", "returns successfully"], Whole::Container),
    (&["RemoveContainer", "returns successfully"], Whole::Container),
    (&["Stopped container"], Whole::Container),
    (&["Container exited normally"], Whole::Container),
];

/// Other causes, and causes of their own: the first that fits counts, the more telling come first.
const CAUSES: [(Words, Cause); 66] = [
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
const REASONS: [(Words, Cause); 13] = [
    (&["ttrpc: closed"], Cause::DeadShim),
    (&["ttrpc: server closed"], Cause::DeadShim),
    (&["code = Unavailable"], Cause::DeadShim),
    (&["to be killed"], Cause::NotKilled),
    (&["failed to exit within"], Cause::NotKilled),
    (&["did not receive an exit event"], Cause::NotKilled),
    (&["StopContainer with signal", "timed out"], Cause::NotKilled),
    (&["Killing..."], Cause::NotKilled),
    (&["failed to get task"], Cause::State),
    (&["failed to load task"], Cause::State),
    (&["get state for"], Cause::State),
    (&["failed to stop sandbox container"], Cause::State),
    (&["failed to kill"], Cause::State),
];

/// It is gone already, which is what was wanted.
const GONE: [&str; 6] = [
    "code = NotFound",
    "No such container",
    "no such process",
    "process already finished",
    "already stopped",
    "is not running",
];

/// Names of gVisor's processes, as the kernel and systemd have them.
const PROCESSES: [&str; 7] =
    ["runsc", "runsc-sandbox", "runsc-gofer", "gvisor_sentry", "gvisor_sentry-p", "exe", "gvisor-sentry"];

/// What `text` tells, if it tells of this at all.
pub(super) fn sign(text: &str) -> Option<Sign> {
    let has = |words: &Words| words.iter().all(|word| text.contains(word));
    if let Some(guards) = guards(text) {
        return Some(guards);
    }
    if let Some(hang) = known::told_in(text) {
        return Some(Sign::Hang(hang));
    }
    if let Some((_, whole)) = ENDED.iter().find(|(words, _)| has(words)) {
        return Some(Sign::Ended(*whole));
    }
    if let Some(sign) = alone(text) {
        return Some(sign);
    }
    let cause = CAUSES.iter().find(|(words, _)| has(words)).map(|(_, cause)| *cause);
    if FAILED.iter().any(has) {
        if GONE.iter().any(|word| text.contains(word)) {
            return None;
        }
        let reason = || REASONS.iter().find(|(words, _)| has(words)).map(|(_, cause)| *cause);
        return Some(Sign::Failed(cause.or_else(reason).unwrap_or(Cause::Unsaid)));
    }
    if TRIED.iter().any(has) {
        return Some(Sign::Tried(cause.unwrap_or(Cause::Unsaid)));
    }
    match cause? {
        Cause::Reserved => Some(Sign::Failed(Cause::Reserved)),
        other if other.is_other() => Some(Sign::Note(other)),
        _ => None,
    }
}

/// The guard's own lines, and its answers in those of others.
fn guards(text: &str) -> Option<Sign> {
    let is_guards = text.contains("guard");
    if !is_guards {
        return None;
    }
    if text.contains("SIGKILL was sent") && text.contains("kernel keeps") {
        return Some(Sign::Failed(Cause::Unkillable));
    }
    let ends =
        ["the guard ends the sandbox now", "nothing is left", "but this is left", "was ended by the guard"];
    if ends.iter().any(|words| text.contains(words)) || text.contains("the guard has released this container")
    {
        return Some(Sign::GuardEnds);
    }
    let waits = ["has had no effect for", "is being ended", "the guard ends the sandbox in", "guard: "];
    waits.iter().any(|words| text.contains(words)).then_some(Sign::GuardWaits)
}

/// Lines that are about no end that somebody has asked for.
fn alone(text: &str) -> Option<Sign> {
    let has = |words: Words| words.iter().all(|word| text.contains(word));
    let cause = if has(&["blocked for more than", "seconds"]) {
        return task(text).filter(|name| PROCESSES.contains(name)).map(|_| Sign::Failed(Cause::Unkillable));
    } else if has(&["Waiting for process"]) {
        let is_ours = PROCESSES.iter().any(|name| has_word(text, name)) || text.contains("containerd-shim");
        return is_ours.then_some(Sign::Failed(Cause::Shutdown));
    } else if has(&["till around after", "SIGKILL"]) || has(&["rocesses still around after"]) {
        Cause::Unkillable
    } else if has(&["PLEG is not healthy", "last seen active"]) {
        Cause::Pleg
    } else if has(&["failed to load shim"]) || has(&["unable to load shim"]) {
        Cause::LoadShim
    } else if has(&["cleaning leaked shim process"])
        || has(&["shim might be leaked"])
        || has(&["failed to delete shim"])
        || has(&["failed to shutdown shim task"])
        || has(&["failed to delete dead shim"])
        || has(&["failed to clean up after shim disconnected"])
    {
        Cause::Leaked
    } else if has(&["collecting metrics for", "deadline exceeded"])
        || has(&["stat task", "deadline exceeded"])
    {
        return Some(Sign::Note(Cause::Stats));
    } else if has(&["collecting metrics for", "ttrpc: closed"]) {
        return Some(Sign::Note(Cause::ShimGone));
    } else if create(text) {
        Cause::Create
    } else {
        return None;
    };
    Some(Sign::Failed(cause))
}

/// A Create or Start that did not return in time. (One that found its name taken tells that, which is more.)
fn create(text: &str) -> bool {
    let words = ["RunPodSandbox", "CreatePodSandbox", "StartContainer", "CreateContainer"];
    text.contains("DeadlineExceeded")
        && text.contains("failed")
        && !text.contains("reserved for")
        && !text.contains("CrashLoopBackOff")
        && words.iter().any(|word| text.contains(word))
        && !CAUSES
            .iter()
            .any(|(words, cause)| cause.is_other() && words.iter().all(|word| text.contains(word)))
}

/// The name in the kernel's `task NAME:PID blocked`.
fn task(text: &str) -> Option<&str> {
    text.split("task ").nth(1)?.split(':').next()
}

fn has_word(text: &str, name: &str) -> bool {
    text.split(|one: char| !(one.is_ascii_alphanumeric() || "_-".contains(one))).any(|word| word == name)
}

#[cfg(test)]
mod tests;
