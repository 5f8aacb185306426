use super::*;
use runsc_guard_core::io::StepKind;
use runsc_guard_sandbox::diagnostics::processes::Diagnostics;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::resources::inventory::Released;
use std::path::Path;

fn report(version: u32) -> Report {
    let stack = Some("[<0>] fuse_wait\n[<0>] vfs_read".into());
    let thread = Thread { tid: 8, state: 'D', wchan: Some("request_wait_answer".into()), stack };
    let witness = Witness {
        pid: 7,
        role: Role::Sentry,
        comm: "exe".into(),
        command: "runsc-sandbox boot \x1b[31m".into(),
        age_s: 90,
        cgroups: Vec::new(),
        frozen: false,
        threads: vec![thread],
    };
    let mut report = Report::begin("k8s.io", "abc", 1_700_000_000_000_000_000);
    report.version = version;
    report.diagnostics = Diagnostics { processes: vec![witness], omitted: 2 };
    report
}

#[test]
fn json_is_as_the_schema_says() {
    let mut whole = report(2);
    whole.moment(Moment { at_ms: 1, what: What::Asked, text: "x".into(), due_ms: Some(2) });
    whole.moment(Moment { at_ms: 2, what: What::Happened, text: "x".into(), due_ms: None });
    whole.step_begins(StepKind::KillAll, 1, 2);
    whole.released = vec![Released { kind: "mounts".into(), count: 1, names: vec!["m".into()] }];
    whole.goroutines.note = "cut".into();
    let stored = [report(1), whole].map(|report| Stored::of(report, Path::new("/r/1-k8s.io-abc.json")));
    crate::schema::assert_valid("reports", &stored);
}

fn lines(report: Report) -> Vec<String> {
    let stored = Stored::of(report, Path::new("/r/1-k8s.io-abc.json"));
    anstream::adapter::strip_str(&full(&stored)).to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_report_of_version_one_reads_from_the_verdict_down_to_the_stacks() {
    let lines = lines(report(1));
    assert!(
        lines[0].starts_with("2023-11-14T22:13:20Z  k8s.io/abc  sentry 7 hung in the kernel"),
        "{lines:?}"
    );
    assert_eq!(
        lines[2..],
        [
            "",
            "Processes, before anything was touched",
            "  sentry 7 1m30s",
            "    runsc-sandbox boot ?[31m",
            "    thread 8 D in request_wait_answer",
            "      [<0>] fuse_wait",
            "      [<0>] vfs_read",
            "  and 2 more processes",
            "",
        ]
    );
}

#[test]
fn a_whole_report_has_time_in_columns_and_stacks_summed_up() {
    const BEGAN: u64 = 1_700_000_000_000;
    let mut report = report(2);
    (report.sign, report.since_ms, report.runsc_version) =
        ("a sign".into(), BEGAN - 2000, "release-1".into());
    let moment = |before: u64, what, text: &str, due_ms| Moment {
        at_ms: BEGAN - before,
        what,
        text: text.to_owned(),
        due_ms,
    };
    report.moment(moment(2000, What::Awaited, "SIGKILL of c", Some(BEGAN)));
    report.moment(moment(1500, What::Asked, "Wait of c", None));
    report.moment(moment(9000, What::Happened, "/tasks/start c", None));
    report.step_begins(StepKind::Diagnose, BEGAN + 1, 300);
    report.step_ends(StepKind::Diagnose, BEGAN + 43, &[]);
    report.step_begins(StepKind::KillAll, BEGAN + 50, 400);
    report.released = vec![Released::new("files", (0..6).map(|one| format!("/f{one}")))];
    report.ended_ms = Some(BEGAN + 412);
    report.goroutines.text =
        "goroutine 1 [select]:\nmain.a(0x1)\n\ngoroutine 2 [select]:\nmain.a(0x2)".into();
    report.stacks = Dump::none("not asked: the sentry 7 is stopped");
    let lines = lines(report);
    assert!(lines[0].ends_with("; gone in 412ms"), "{}", lines[0]);
    for line in [
        "  runsc release-1",
        "    -7.000s             /tasks/start c",
        "    +0.000s  awaited    SIGKILL of c, due +2.000s",
        "    +0.500s  asked      Wait of c",
        "  a sign, for 2s",
        "  diagnose        +0.001s     42 ms of 300 ms",
        "  kill all        +0.050s  did not come back of 400 ms",
        "  6 files: /f0, /f1, /f2, /f3, and 2 more",
        "Goroutines of the real shim (2)",
        "      2 x select: main.a",
        "  not asked: the sentry 7 is stopped",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line:?} is not in\n{}", lines.join("\n"));
    }
}

#[test]
fn ids_are_short_and_nothing_else_is() {
    let id = "c0ffee".repeat(11)[..ID].to_owned();
    let text = format!("Kill of {id}/exec, {id}: /sys/{id} abcdef {id}0");
    let expected = format!("Kill of c0ffeec0ffeec/exec, c0ffeec0ffeec: /sys/c0ffeec0ffeec abcdef {id}0");
    assert_eq!(short(&text), expected);
}

#[test]
fn what_is_left_is_said_first() {
    let mut report = report(2);
    report.is_left(&["process: sentry 7".into()]);
    assert!(lines(report)[0].ends_with("; 1 left"));
}
