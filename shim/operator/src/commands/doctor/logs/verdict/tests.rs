use super::*;
use crate::commands::doctor::logs::decode::decode;

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn stop(number: usize, minute: usize) -> String {
    let id = id(number);
    format!(
        r#"time="2026-11-25T22:{minute:02}:00Z" level=error msg="StopPodSandbox for \"{id}\" failed" error="rpc error: code = DeadlineExceeded desc = x" runtime=io.containerd.runsc.v1"#
    )
}

fn told(lines: &[String]) -> Report {
    let mut tally = Tally::default();
    tally.begin();
    lines.iter().flat_map(|line| decode(line)).for_each(|record| tally.take(record));
    report(&tally, &[])
}

fn level(lines: &[String]) -> Level {
    told(lines).verdict.level
}

#[test]
fn the_same_failure_twice_is_the_problem() {
    assert_eq!(level(&[stop(1, 1), stop(2, 2), "nothing".into()]), Level::Warn);
    let twice = told(&[stop(1, 1), stop(2, 2), stop(2, 7)]);
    assert_eq!(twice.verdict.level, Level::Fail);
    assert!(twice.verdict.what.contains(&format!("{}, 2 tries", id(2))), "{}", twice.verdict.what);
    let worst = &twice.subjects[0];
    assert_eq!((worst.name.clone(), worst.tries, worst.state), (id(2), 2, "stuck"));
    assert_eq!(worst.first.as_deref(), Some("2026-11-25T22:02:00Z"));
    assert_eq!(worst.last.as_deref(), Some("2026-11-25T22:07:00Z"));
    assert!(!twice.verdict.remedy.unwrap().contains("no line names runsc"));
}

#[test]
fn a_quiet_log_is_fine_and_an_empty_or_a_strange_one_is_not() {
    assert_eq!(level(&["I0610 23:48:59.248680    1234 k.go:1] all is well".to_owned()]), Level::Ok);
    assert_eq!(level(&[]), Level::Fail);
    assert_eq!(level(&["It was a dark and stormy night".to_owned()]), Level::Fail);
}

#[test]
fn weak_signs_alone_are_no_verdict() {
    let closed = format!(r#"level=error msg="collecting metrics for {}" error="ttrpc: closed""#, id(1));
    assert_eq!(level(&[closed.clone(), closed.clone(), closed]), Level::Warn);
}

#[test]
fn a_success_afterwards_makes_it_slow() {
    let ended = |minute: usize| {
        format!(
            r#"time="2026-11-25T22:{minute:02}:00Z" level=info msg="StopPodSandbox for \"{}\" returns successfully""#,
            id(1)
        )
    };
    assert_eq!(level(&[ended(1), stop(1, 2), stop(1, 4)]), Level::Fail);
    let slow = told(&[stop(1, 2), stop(1, 4), ended(6)]);
    assert_eq!((slow.verdict.level, slow.subjects[0].state), (Level::Warn, "slow"));
}

#[test]
fn lines_that_name_nobody_are_not_summed() {
    let line = |minute: usize| {
        format!("E0203 04:{minute:02}:06.111222     812 k.go:1] \"killPodWithSyncResult failed\" err=\"x\"")
    };
    let report = told(&[line(1), line(3), line(5)]);
    assert_eq!(report.verdict.level, Level::Warn, "{report:#?}");
}

#[test]
fn a_hang_that_gvisor_tells_of_is_named() {
    let line = "Systrap task goroutine has been waiting on ThreadContext.State futex too long".to_owned();
    let report = told(&[line]);
    assert_eq!(report.verdict.level, Level::Fail);
    assert_eq!(report.verdict.hangs.iter().map(|hang| hang.id.as_str()).collect::<Vec<_>>(), ["stuck-stub"]);
    assert!(!report.verdict.remedy.unwrap().contains("no line names runsc"), "the words are gVisor's alone");
}

#[test]
fn what_cannot_be_read_is_told_first() {
    let mut tally = Tally::default();
    tally.begin();
    let unread = Unread { name: "a.gz".into(), error: "cut".into(), lines: 3 };
    let report = report(&tally, &[unread]);
    assert!(report.verdict.what.contains("a.gz cannot be read (after 3 lines"), "{}", report.verdict.what);
}

#[test]
fn what_the_caller_gave_up_is_not_answered_either() {
    let canceled = |minute: usize| {
        let id = id(1);
        format!(
            r#"time="2026-11-25T22:{minute:02}:00Z" level=error msg="converting task to protobuf" error="context canceled: unknown" id={id}"#
        )
    };
    assert_eq!(level(&[canceled(1)]), Level::Warn);
    assert_eq!(level(&[canceled(1), canceled(3)]), Level::Fail);
}

#[test]
fn a_pod_of_another_runtime_is_its_for_all_lines() {
    let kata = |minute: usize| {
        format!(
            r#"time="2026-11-25T22:{minute:02}:50Z" level=error msg="Failed to handle backOff event for {}" error="failed to stop sandbox: unknown error after kill: /usr/bin/kata-runtime did not terminate sucessfully: not ready""#,
            id(1)
        )
    };
    let state = |minute: usize| {
        format!(
            r#"time="2026-11-25T22:{minute:02}:59Z" level=error msg="StopPodSandbox for x failed" error="failed to stop sandbox container {}: wait" "#,
            id(1)
        )
    };
    let report = told(&[kata(2), state(2), kata(6), state(6)]);
    assert_eq!((report.verdict.level, report.subjects[0].cause), (Level::Warn, Cause::Runc));
}

#[test]
fn what_was_deleted_by_force_has_not_ended() {
    let kubelet =
        |second: usize, what: &str| format!("E1125 22:07:{second:02}.111222     812 k.go:1] {what}");
    let stop = |second: usize| {
        kubelet(second, r#""Error syncing pod" err="KillPodSandboxError: DeadlineExceeded" pod="shop/web""#)
    };
    let gone = |what: &str| kubelet(59, &format!(r#""SyncLoop {what}" source="api" pods=["shop/web"]"#));
    let lines = [stop(1), stop(41), gone("DELETE"), gone("REMOVE")];
    assert_eq!(level(&lines), Level::Fail);
}

#[test]
fn what_was_seen_once_is_not_told_as_again_and_again() {
    let once = |what: &str| {
        told(&[format!(r#"time="2026-11-25T22:01:00Z" level=error msg="{what}" id={}"#, id(1))]).verdict.what
    };
    for what in ["StopPodSandbox for x failed: ttrpc: closed", "CreateContainer failed: DeadlineExceeded"] {
        assert!(once(what).contains(", 1 try") && !once(what).contains("again"), "{}", once(what));
    }
}

/// kubelet's own line of that second, for the pod shop/web.
fn kubelet(minute: usize, second: usize, what: &str) -> String {
    format!(r#"E1125 22:{minute:02}:{second:02}.111222     812 k.go:1] {what} pod="shop/web""#)
}

fn unsaid(minute: usize) -> String {
    kubelet(minute, 5, r#""Error syncing pod" err="failed to \"KillPodSandbox\": DeadlineExceeded""#)
}

#[test]
fn another_trouble_excuses_only_the_tries_of_its_moment() {
    for other in [
        r#""Error syncing pod" err="failed to \"StartContainer\" with ErrImagePull: \"failed to pull\"""#,
        r#"MountVolume.SetUp failed for volume "kube-api-access": object "shop"/"root-ca" not registered"#,
        r#""Failed to create sandbox" err="plugin type=\"x\" failed (add): network is not ready""#,
    ] {
        let lines = [unsaid(10), kubelet(10, 6, other), unsaid(14), kubelet(14, 6, other)];
        assert_eq!(level(&lines), Level::Fail, "a beginning is no end: {other}");
    }
    for (other, cause) in [
        (r#""PodSandboxStatus failed" err="error reading from server: EOF""#, Cause::Engine),
        (r#"UnmountVolume.TearDown failed for volume "data": busy"#, Cause::Volume),
    ] {
        assert_eq!(level(&[kubelet(1, 6, other), unsaid(10), unsaid(14)]), Level::Fail, "{other}");
        let report = told(&[unsaid(10), kubelet(10, 6, other), unsaid(14), kubelet(14, 4, other)]);
        assert_eq!((report.verdict.level, report.subjects[0].cause), (Level::Warn, cause), "{other}");
        let one_of_three = [unsaid(10), unsaid(14), kubelet(14, 6, other), unsaid(18)];
        assert_eq!(level(&one_of_three), Level::Fail, "{other}");
    }
}

#[test]
fn a_process_that_may_be_runcs_needs_the_name_of_gvisor() {
    let blocked = |name: &str, seconds: usize| {
        format!("[ {seconds}.313308] INFO: task {name}:4711 blocked for more than {seconds} seconds.")
    };
    for name in ["exe", "containerd-shim"] {
        assert_eq!(level(&[blocked(name, 120)]), Level::Warn, "{name}");
        let gvisor = format!("[  130.313308] CPU: 3 PID: 4711 Comm: {name} Hardware name: runsc");
        assert_eq!(level(&[blocked(name, 120), gvisor]), Level::Fail, "{name}");
    }
    assert_eq!(level(&[blocked("exe", 120), blocked("exe", 240)]), Level::Warn);
    let locked = |second: usize| {
        format!("[ {second}.313308] watchdog: BUG: soft lockup - CPU#0 stuck for 27s! [containerd-shim:1984]")
    };
    assert_eq!(level(&[locked(120), locked(240)]), Level::Warn, "one lockup, told again");
    assert_eq!(level(&[blocked("gvisor_sentry", 120)]), Level::Fail);
}

#[test]
fn tries_that_two_programs_tell_of_are_counted_by_the_clock_of_their_envelope() {
    let by_kubelet = format!(
        r#"Nov 13 07:54:19 n kubelet[8]: E1113 07:54:19.636989       8 k.go:1] "StopContainer from runtime service failed" containerID="{}""#,
        id(1)
    );
    let by_containerd = |day: usize, minute: usize| {
        format!(
            r#"Nov {day} 07:{minute:02}:20 n containerd[9]: time="2025-11-{day}T07:{minute:02}:20Z" level=info msg="Skipping the sending of signal terminated to container \"{}\" because a prior stop with timeout>0 request already sent the signal""#,
            id(1)
        )
    };
    assert_eq!(level(&[by_kubelet.clone(), by_containerd(17, 54)]), Level::Fail);
    assert_eq!(level(&[by_kubelet.clone(), by_containerd(13, 56)]), Level::Warn, "of one try");
    assert_eq!(
        level(&[by_containerd(12, 54), by_kubelet]),
        Level::Warn,
        "what was before it may have gone well"
    );
}

#[test]
fn a_crash_is_gvisors_where_its_stack_is() {
    let dies = "2026-02-01T00:00:00.1Z stderr F fatal error: concurrent map writes".to_owned();
    let frame = |name: &str| format!("2026-02-01T00:00:00.1Z stderr F {name}.(*Task).run(0xc00099ea20)");
    let kubelets = frame("k8s.io/kubernetes/pkg/kubelet/cm");
    let quiet = "I0610 23:48:59.248680    1234 k.go:1] all is well".to_owned();
    let lines = [dies.clone(), kubelets, quiet, dies.clone()];
    assert_eq!(level(&lines), Level::Ok);
    let report = told(&[dies, frame("runtime"), frame("gvisor.dev/gvisor/pkg/sentry/kernel")]);
    assert_eq!((report.verdict.level, report.subjects[0].cause), (Level::Warn, Cause::Crash));
    assert_eq!(report.verdict.hangs[0].id, "concurrent-map");
}

#[test]
fn a_short_id_is_the_whole_ones() {
    let whole = format!("7873876b3310{}", "8c".repeat(26));
    let line = |minute: usize, id: &str, what: &str| {
        format!(
            r#"time="2026-11-25T22:{minute:02}:40Z" level=info msg="Container {id} failed to exit within 10 seconds of {what}""#
        )
    };
    let short = |minute: usize| line(minute, &whole[..12], "kill - trying direct SIGKILL");
    for lines in [
        vec![short(1), line(2, &whole, "signal 15 - using the force"), short(3)],
        vec![line(1, &whole, "kill - trying direct SIGKILL"), short(3)],
    ] {
        let report = told(&lines);
        assert_eq!((report.verdict.level, report.subjects.len()), (Level::Fail, 1), "{report:#?}");
        assert_eq!(report.subjects[0].ids.join(" "), whole);
    }
    assert_eq!(told(&[short(1), short(3)]).subjects[0].name, &whole[..12]);
}

#[test]
fn lines_that_a_pager_has_cut_are_no_good_news() {
    let cut = r#"Apr 16 14:18:10 n containerd[8563]: time="2024-04-16T14:18:10.1+08:00" level=error msg="get state for 53fd2>"#;
    let report = told(&[cut.to_owned(), cut.replace(":10", ":44")]);
    assert_eq!(report.verdict.level, Level::Warn);
    assert!(
        report.verdict.what.contains("2 lines are cut")
            && report.verdict.remedy.unwrap().contains("--no-pager")
    );
    let whole = r#"time="2024-04-16T14:18:10.1+08:00" level=info msg="a <b>" c="d>""#.to_owned();
    assert_eq!(level(&[whole]), Level::Ok);
}

/// The same at 22:01, 22:03 and 22:05, as kubelet and its users try again.
fn thrice(line: &str) -> Vec<String> {
    [1, 3, 5].iter().map(|minute| line.replace("22:00:", &format!("22:{minute:02}:"))).collect()
}

fn stopped(answer: &str) -> String {
    let id = id(1);
    format!(
        r#"E1125 22:00:11.124178    3828 remote_runtime.go:205] "StopPodSandbox from runtime service failed" err="rpc error: {answer}" podSandboxID="{id}""#
    )
}

#[test]
fn an_end_that_is_answered_with_an_error_is_not_silent() {
    for answer in [
        "code = Unknown desc = failed to unmount SHM: no such file or directory",
        "code = Unknown desc = failed to kill container \"x\": permission denied",
        "code = Unknown desc = failed to kill container: unknown error after kill: dbus: connection closed",
        "code = Unknown desc = failed to stop container: fork/exec /opt/runsc: no such file or directory",
        "code = ResourceExhausted desc = grpc: trying to send message larger than max",
        "code = Unknown desc = Cannot connect to the Docker daemon. Is the docker daemon running?",
    ] {
        let mut lines = thrice(&stopped(answer));
        // kubelet's next line tells no error: the one before it does.
        lines.extend(thrice(&format!(
            r#"E1125 22:00:11.124278    3828 m.go:1] "Failed to stop sandbox" podSandboxID={{"Type":"containerd","ID":"{}"}}"#,
            id(1)
        )));
        let report = told(&lines);
        assert_eq!(
            (report.verdict.level, report.subjects[0].state),
            (Level::Warn, "other cause"),
            "{answer}"
        );
    }
    for silence in [
        "code = Unknown desc = failed to stop container: context canceled",
        "code = 4 desc = context deadline exceeded",
        "code = Unknown desc = failed to kill container \"x\": cannot kill a deleted process: unknown",
        "code = Unknown desc = failed to stop container: timed out",
    ] {
        assert_eq!(level(&thrice(&stopped(silence))), Level::Fail, "{silence}");
    }
    assert_eq!(
        level(&thrice(&format!(
            "Error response from daemon: Cannot kill container {}: denied 22:00:",
            id(1)
        ))),
        Level::Warn
    );
}

#[test]
fn what_is_gone_in_whichever_words_is_not_stuck() {
    for answer in [
        "code = Unknown desc = an error occurred when try to find sandbox: does not exist",
        "code = Unknown desc = no running task found: task x not found: not found",
        "code = NotFound desc = x",
    ] {
        assert_eq!(level(&thrice(&stopped(answer))), Level::Ok, "{answer}");
    }
    let shim =
        "code = Unknown desc = failed to stop sandbox: runtime binary not installed: file does not exist";
    assert_eq!(level(&thrice(&stopped(shim))), Level::Warn);
    let plugin = "code = Unknown desc = failed to destroy network for sandbox: plugin not found";
    assert_eq!(told(&thrice(&stopped(plugin))).subjects[0].cause, Cause::Cni);
}

#[test]
fn a_busy_cgroup_excuses_no_deadline() {
    let busy = r#"E1125 22:00:09.124178    3828 c.go:1] "Failed to delete cgroup paths" err="unable to destroy cgroup: device or resource busy" pod="shop/web""#;
    let unsaid =
        kubelet(0, 11, r#""Error syncing pod" err="failed to \"KillPodSandbox\": DeadlineExceeded""#);
    let both = [thrice(busy), thrice(&unsaid)].concat();
    assert_eq!(level(&both), Level::Fail);
    let answered = stopped("code = Unknown desc = unable to destroy cgroup: device or resource busy");
    assert_eq!(told(&thrice(&answered)).subjects[0].cause, Cause::Cgroup);
}

#[test]
fn a_stop_that_is_asked_again_and_again_is_not_answered() {
    let asked = |minute: usize| {
        let id = id(1);
        format!(r#"time="2026-11-25T22:{minute:02}:00Z" level=info msg="StopPodSandbox for \"{id}\"""#)
    };
    let crio = |minute: usize| {
        let id = id(2);
        format!(
            r#"time="2026-11-25 22:{minute:02}:00Z" level=info msg="Stopping container: {id} (timeout: 30s)""#
        )
    };
    let ended = |minute: usize| asked(minute).replace(r#"\"""#, r#"\" returns successfully""#);
    assert_eq!(level(&[asked(1)]), Level::Ok);
    assert_eq!(level(&[asked(1), asked(5)]), Level::Warn);
    assert_eq!(level(&[asked(1), asked(5), asked(9)]), Level::Fail);
    assert_eq!(level(&[crio(1), crio(5), crio(9)]), Level::Fail);
    assert_eq!(level(&[asked(1), ended(2), asked(5), ended(6), asked(9), ended(10)]), Level::Ok);
    let answer =
        stopped("code = Unknown desc = failed to remove sandbox files: busy").replace("22:00", "22:02");
    assert_eq!(level(&[asked(1), answer, asked(5), asked(9)]), Level::Warn, "it was answered");
}

#[test]
fn a_crash_is_known_by_how_any_program_of_go_ends() {
    let frame = "gvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run(0xc00099ea20)";
    for (head, frame) in [
        ("panic: Signal-induced panic", "gvisor.dev/gvisor/runsc/boot.(*Loader).run.func1(0xf)"),
        ("fatal error: all goroutines are asleep - deadlock!", frame),
        ("SIGSEGV: segmentation violation", "gvisor.googlesource.com/gvisor/pkg/sentry/kvm.(*vCPU).x()"),
        ("panic({0x111ed80?, 0xc000120240?})", frame),
    ] {
        let journal = |text: &str| format!("Oct 04 10:59:54 n containerd[8]: {text}");
        let goroutine = "goroutine 65 [running]:".to_owned();
        for lines in [
            vec![head.to_owned(), goroutine.clone(), frame.to_owned()],
            vec![journal(head), journal(&goroutine), journal(frame)],
        ] {
            let report = told(&lines);
            let crash = (Level::Warn, Some(Cause::Crash));
            assert_eq!((report.verdict.level, report.subjects.first().map(|one| one.cause)), crash, "{head}");
        }
        let netstack = "gvisor.dev/gvisor/pkg/tcpip/stack.(*PacketBuffer).IncRef(0xc0006ffc00)";
        let quiet = "I0610 23:48:59.248680    1234 k.go:1] all is well";
        assert_eq!(level(&[head, netstack, quiet].map(str::to_owned)), Level::Ok, "another program's stack");
    }
    let maps = ["fatal error: concurrent map writes", "gvisor.dev/gvisor/pkg/tcpip/stack.x()"];
    assert!(told(&maps.map(str::to_owned)).subjects.is_empty());
    assert_eq!(
        level(&["\tTask tid: 67 (goroutine 468), entered RunSys state 3m40.19s ago.".to_owned()]),
        Level::Fail
    );
}

#[test]
fn a_pod_is_another_runtimes_by_its_shim() {
    for (line, expected) in [
        ("source=virtcontainers name=containerd-shim-v2 sandbox=ID", Level::Warn),
        (r#"cmd="/usr/local/bin/containerd-shim-kata-v2 -id ID delete""#, Level::Warn),
        (r#"cmd="/usr/local/bin/containerd-shim-runsc-v1 -id ID delete""#, Level::Fail),
    ] {
        let line = format!("time=\"2026-11-25T21:00:00Z\" level=info msg=x {line}").replace("ID", &id(1));
        assert_eq!(
            level(
                &[line.clone(), stop(1, 1), stop(1, 5)]
                    .map(|one| one.replace("runtime=io.containerd.runsc.v1", ""))
            ),
            expected,
            "{line}"
        );
    }
}

#[test]
fn a_deadline_in_whichever_words_is_one() {
    let create = r#"E1125 22:00:10.104956    3828 r.go:116] RunPodSandbox from runtime service failed: rpc error: code = Unknown desc = operation timeout: context deadline exceeded"#;
    assert_eq!(told(&[create.to_owned()]).subjects[0].cause, Cause::Create);
    let status = r#"E1125 22:00:51.439135    3299 k.go:843] PodSandboxStatus of sandbox "x" error: rpc error: code = 4 desc = context deadline exceeded"#;
    assert_eq!((level(&[status.to_owned()]), level(&thrice(status))), (Level::Ok, Level::Warn));
}

#[test]
fn kubectl_tells_how_long_a_pod_is_terminating() {
    let status =
        |lasts: &str| level(&[format!("Status:                    Terminating (lasts {lasts})"), stop(1, 1)]);
    let only = |lasts: &str| told(&[format!("Status:    Terminating (lasts {lasts})")]).subjects.len();
    assert_eq!((only("10m"), only("15s"), status("15s")), (1, 0, Level::Warn));
}

#[test]
fn gvisors_own_debug_log_is_not_kubelets() {
    let lines = [
        "D0920 16:39:23.508673  1781957 pgalloc.go:1127] x",
        "I0920 16:39:24.508673  1781957 loader.go:1] y",
    ];
    let report = told(&lines.map(str::to_owned));
    assert_eq!((report.verdict.level, report.understood.get("gVisor")), (Level::Ok, Some(&1)));
}
