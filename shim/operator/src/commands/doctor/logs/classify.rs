//! Which lines tell of a pod that does not end. Pure; the words are those of kubelet and of containerd 1.6 to 2.4.

use serde::Serialize;

use crate::known::{self, Hang};

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// kubelet could not end a pod.
    KillPodSandbox,
    /// StopPodSandbox ran out of time, or failed.
    StopPodSandbox,
    /// kubelet could not end a container.
    KillContainer,
    /// containerd waited for a killed container in vain.
    NotKilled,
    /// containerd could not clear away what had exited.
    ExitNotHandled,
    /// The shim did not answer State.
    State,
    /// gVisor itself noticed that it hangs.
    Known,
    /// The connection to a shim ended under a request.
    ShimGone,
    /// A shim or its leftovers could not be removed.
    LeftBehind,
    /// The shim gave no metrics in time.
    Stats,
    /// The guard has begun to end a sandbox.
    Guarded,
}

impl Kind {
    /// Seen again and again of one pod, it is the problem; the others go with it, and also come alone.
    pub(crate) fn is_strong(self) -> bool {
        use Kind::{ExitNotHandled, KillContainer, KillPodSandbox, Known, NotKilled, State, StopPodSandbox};
        let strong = [KillPodSandbox, StopPodSandbox, KillContainer, NotKilled, ExitNotHandled, State, Known];
        strong.contains(&self)
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::KillPodSandbox => "kubelet could not kill the sandbox",
            Self::StopPodSandbox => "StopPodSandbox failed",
            Self::KillContainer => "kubelet could not kill a container",
            Self::NotKilled => "killed, and did not end",
            Self::ExitNotHandled => "its exit could not be handled",
            Self::State => "State was not answered",
            Self::Known => "gVisor says that it hangs",
            Self::ShimGone => "the shim was gone",
            Self::LeftBehind => "something was left behind",
            Self::Stats => "Stats was not answered",
            Self::Guarded => "ended by the guard",
        }
    }
}

/// All of these words, for this kind. The first that fits counts: the more telling come first.
const WORDS: [(&[&str], Kind); 20] = [
    (&["the guard ends the sandbox now"], Kind::Guarded),
    (&["Failed to kill pod sandbox"], Kind::KillPodSandbox),
    (&["KillPodSandboxError"], Kind::KillPodSandbox),
    (&["failed to \"KillPodSandbox\""], Kind::KillPodSandbox),
    (&["Failed to stop sandbox"], Kind::KillPodSandbox),
    (&["StopPodSandbox for", "failed"], Kind::StopPodSandbox),
    (&["StopPodSandbox from runtime service failed"], Kind::StopPodSandbox),
    (&["StopPodSandbox", "DeadlineExceeded"], Kind::StopPodSandbox),
    (&["failed to handle sandbox TaskExit event"], Kind::ExitNotHandled),
    (&["failed to handle container TaskExit event"], Kind::ExitNotHandled),
    (&["Failed to handle backOff event"], Kind::ExitNotHandled),
    (&["an error occurs during waiting for container", "to be killed"], Kind::NotKilled),
    (&["failed to stop sandbox"], Kind::StopPodSandbox),
    (&["KillContainerError"], Kind::KillContainer),
    (&["failed to kill container"], Kind::KillContainer),
    (&["get state for", "deadline exceeded"], Kind::State),
    (&["failed to delete shim"], Kind::LeftBehind),
    (&["failed to clean up after shim disconnected"], Kind::LeftBehind),
    (&["collecting metrics for", "deadline exceeded"], Kind::Stats),
    (&["ttrpc: closed"], Kind::ShimGone),
];

/// Other troubles in the same words: a CNI plugin that fails, a containerd that does not run.
const OTHERS: [&str; 4] =
    ["failed to destroy network", "cni plugin not initialized", "cni config uninitialized", "dial unix"];

/// What `text` tells, if it tells of this at all.
pub(super) fn classify(text: &str) -> Option<(Kind, Option<&'static Hang>)> {
    if let Some(hang) = known::told_in(text) {
        return Some((Kind::Known, Some(hang)));
    }
    if OTHERS.iter().any(|words| text.contains(words)) {
        return None;
    }
    let fits = |words: &[&str]| words.iter().all(|word| text.contains(word));
    WORDS.iter().find(|(words, _)| fits(words)).map(|(_, kind)| (*kind, None))
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;

    #[test]
    fn lines_of_kubelet_and_containerd_are_known() {
        let kind = |line: &str| classify(&Line::parse(line).text).map(|(kind, _)| kind);
        for (line, expected) in [
            (
                r#"E0610 23:48:59.248680    1234 kuberuntime_manager.go:1090] "Failed to kill pod sandbox" err="rpc error" pod="a/b""#,
                Kind::KillPodSandbox,
            ),
            (
                r#"E0610 23:48:59.248680    1234 pod_workers.go:965] "Error syncing pod, skipping" err="failed to \"KillPodSandbox\" for \"1\" with KillPodSandboxError: \"rpc error: code = DeadlineExceeded desc = context deadline exceeded\"" pod="a/b""#,
                Kind::KillPodSandbox,
            ),
            (
                r#"E1126 17:31:49.900799    2098 remote_runtime.go:144] "StopPodSandbox from runtime service failed" err="rpc error: code = DeadlineExceeded desc = context deadline exceeded" podSandboxID="30d5""#,
                Kind::StopPodSandbox,
            ),
            (
                r#"time="2026-11-25T22:39:40Z" level=error msg="StopPodSandbox for \"a9ec\" failed" error="rpc error: code = DeadlineExceeded desc = failed to stop container \"d8c0\": failed to get task for container \"d8c0\": context deadline exceeded""#,
                Kind::StopPodSandbox,
            ),
            (
                r#"time="2024-08-07T19:07:50+08:00" level=error msg="StopContainer for \"f253\" failed" error="rpc error: code = DeadlineExceeded desc = an error occurs during waiting for container \"f253\" to be killed: wait container \"f253\": context deadline exceeded""#,
                Kind::NotKilled,
            ),
            (
                r#"time="t" level=error msg="Failed to handle backOff event &TaskExit{ContainerID:0c,ID:0c,Pid:264,ExitStatus:137,} for 0c" error="failed to handle sandbox TaskExit event: failed to stop sandbox: context deadline exceeded""#,
                Kind::ExitNotHandled,
            ),
            (
                r#"time="t" level=error msg="failed to handle container TaskExit event &TaskExit{ContainerID:0c}" error="failed to stop container""#,
                Kind::ExitNotHandled,
            ),
            (
                r#"{"error":"context deadline exceeded","level":"error","msg":"get state for 0c"}"#,
                Kind::State,
            ),
            (
                r#"{"err":"failed to \"KillContainer\" for \"app\" with KillContainerError: \"...\"","msg":"Error syncing pod, skipping"}"#,
                Kind::KillContainer,
            ),
            (r#"time="t" level=error msg="collecting metrics for 3d" error="ttrpc: closed""#, Kind::ShimGone),
            (
                r#"time="t" level=error msg="collecting metrics for 3d" error="context deadline exceeded""#,
                Kind::Stats,
            ),
            (
                r#"time="t" level=error msg="failed to delete shim" error="context deadline exceeded" id=3d"#,
                Kind::LeftBehind,
            ),
            (
                r#"time="t" level=error msg="wedged: SIGKILL to 3d was not even acknowledged and did not end it, waited 2s; the guard ends the sandbox now" sandbox=3d"#,
                Kind::Guarded,
            ),
            (
                "W0610 23:48:59.248680 1 shared_context.go:190] Systrap task goroutine has been waiting on ThreadContext.State futex too long. ThreadContext: 3",
                Kind::Known,
            ),
        ] {
            assert_eq!(kind(line), Some(expected), "{line}");
        }
        for line in [
            r#"time="t" level=info msg="StopPodSandbox for \"a9ec\"""#,
            r#"time="t" level=info msg="StopPodSandbox for \"a9ec\" returns successfully""#,
            r#"time="t" level=error msg="collecting metrics for 3d" error="cannot stat a stopped container""#,
            r#"{"err":"failed to \"KillPodSandbox\" for \"1\" with KillPodSandboxError: \"rpc error: code = Unknown desc = failed to destroy network for sandbox \\\"30d5\\\": plugin type=\\\"bridge\\\" failed\"","msg":"Error syncing pod, skipping"}"#,
            r#"E0610 23:48:59.248680    1234 remote_runtime.go:222] "StopPodSandbox from runtime service failed" err="rpc error: code = Unavailable desc = connection error: dial unix /run/containerd/containerd.sock: connect: connection refused""#,
            r#"I0610 23:48:59.248680    1234 kubelet.go:2400] "SyncLoop DELETE" source="api" pods=["a/b"]"#,
            "",
        ] {
            assert_eq!(kind(line), None, "{line}");
        }
    }
}
