use super::*;

fn told(text: &str) -> String {
    sign(text).map(|sign| format!("{sign:?}")).unwrap_or_default()
}

#[test]
fn lines_of_all_programs_are_known() {
    for (text, expected) in [
        (r#""Failed to kill pod sandbox" pod="a/b""#, "Failed(Unsaid)"),
        (r#""killContainer for pod failed" err="x" containerName="app""#, "Failed(Answered)"),
        (
            r#""killContainer for pod failed" err="rpc error: code = Unknown desc = failed to ki"#,
            "Failed(Unsaid)",
        ),
        (r#""Kill container failed" err="rpc error: code = NotFound desc = not found""#, "Note(Answered)"),
        (r#"n:~> journalctl | grep "Container termination failed with gracePeriod""#, ""),
        (r#"msg="Stopping container 1 with stop signal timed out. Killing""#, "Failed(NotKilled)"),
        (r#"StopPodSandbox for "1""#, "Asked"),
        (
            r#"StopContainer for "f2" failed error="an error occurs during waiting for container "f2" to be killed: wait"#,
            "Failed(NotKilled)",
        ),
        (r#"get state for 0c error="context deadline exceeded""#, "Failed(State)"),
        (r#"failed to load shim /run/x error="context deadline exceeded""#, "Failed(LoadShim)"),
        ("cleaning leaked shim process", "Failed(Leaked)"),
        (
            r#"failed to reserve sandbox name "a_b_c_0": name "a_b_c_0" is reserved for "1""#,
            "Failed(Reserved)",
        ),
        (
            r#"Skipping the sending of signal terminated to container "1" because a prior stop with timeout>0 request already sent the signal"#,
            "Tried(Unsaid)",
        ),
        (r#"StopPodSandbox for "1" returns successfully"#, "Ended(Pod)"),
        (r#"collecting metrics for 3d error="context deadline exceeded""#, "Note(Stats)"),
        (r#"collecting metrics for 3d error="ttrpc: closed""#, "Note(ShimGone)"),
        ("INFO: task runsc-sandbox:4711 blocked for more than 120 seconds.", "Failed(Unkillable)"),
        ("INFO: task jbd2/sda1-8:311 blocked for more than 120 seconds.", ""),
        ("systemd-shutdown[1]: Waiting for process: 4711 (runsc-sandbox)", "Failed(Shutdown)"),
        ("systemd-shutdown[1]: Waiting for process: 99 (postgres)", ""),
        (
            r#""Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m1s ago; threshold is 3m0s""#,
            "Failed(Pleg)",
        ),
        (r#""Skipping pod synchronization" err="PLEG is not healthy: pleg has yet to be successful""#, ""),
        (
            r#"level=error msg="wedged: SIGKILL to 3d was not even acknowledged and did not end it, waited 2s; the guard ends the sandbox now""#,
            "GuardEnds",
        ),
        ("guard: Kill of 3d has had no effect for 9s; the guard ends the sandbox in 3s", "GuardWaits"),
        (
            "guard: Kill of 3d impossible for now: SIGKILL was sent but the kernel keeps pid 4 (exe, state D in x)",
            "Failed(Unkillable)",
        ),
        ("Container failed to exit within 10s of signal 15 - using the force", ""),
        (r#"failed to destroy network for sandbox "1": x"#, "Note(Cni)"),
        (
            r#"StopPodSandbox "1" from runtime service failed: rpc error: code = Unknown desc = NetworkPlugin cni failed to teardown pod"#,
            "Failed(Cni)",
        ),
        (
            r#"Failed killing the pod "a": failed to "KillContainer" with "no such container: \"1\"""#,
            "Note(Answered)",
        ),
        (r#"FAILED TO STOP SANDBOX "1": CONTEXT DEADLINE EXCEEDED"#, "Failed(Unsaid)"),
        ("cannot exec in a stopped container", ""),
        ("tuned.service: Processes still around after SIGKILL. Ignoring.", ""),
        ("user@0.service: Processes still around after final SIGKILL. Entering failed mode.", ""),
        ("docker-compose-web.service: Processes still around after SIGKILL. Ignoring.", ""),
        ("docker.service: Processes still around after SIGKILL. Ignoring.", "Failed(Unkillable)"),
        ("crio-3d.scope: Processes still around after SIGKILL. Ignoring.", "Failed(Unkillable)"),
        ("kubepods-pod3d.slice: Processes still around after SIGKILL. Ignoring.", "Failed(Unkillable)"),
        ("Normal  Killing  21m (x205 over 7h3m)  kubelet, n  Stopping container web", "Tried(Unsaid)"),
        ("Killing (x12 over it) Stopping container web pod=\"shop/web\"", "Tried(Unsaid)"),
        ("Normal  Killing  21m (x3 over 22m)  kubelet, n  Stopping container web", ""),
        (
            "Warning  FailedSync  3m16s (x485 over 108m)  kubelet  error determining status: remove netns: unlinkat /var/run/netns/cni-1: device or resource busy",
            "Note(Cni)",
        ),
        (
            r#"failed to stop sandbox: unknown error after kill: /opt/bin/kata-runtime did not terminate sucessfully: not ready"#,
            "Failed(Runc)",
        ),
        ("all is well", ""),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
    let known = told(
        "Systrap task goroutine has been waiting on ThreadContext.State futex too long. ThreadContext: 3",
    );
    assert!(known.starts_with("Hang"), "{known}");
}
