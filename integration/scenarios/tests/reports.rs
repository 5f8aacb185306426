//! What stays of an escalation: one report with all that could be learned, lines in containerd's log and events. And
//! what could not be learned holds up nothing.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Event, EventLog, Handler, Host, Outcome, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    promise::{DEADLINE, ESCALATION},
    run,
};
use serde_json::Value;
use std::{
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// The steps of a escalation that nothing holds up.
const STEPS: [&str; 4] = ["diagnose", "kill_sandbox", "kill_all", "release"];

fn handler() -> Handler {
    Handler::quick("h", "2s").guard("create_deadline", "\"2s\"")
}

/// What `runsc-guard reports` prints of the sandbox `id`.
fn reports(host: &Host, id: &str, form: &str) -> Result<String> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    let mut command = Command::new(program);
    command.args(["reports", id, "-o", form, "--report-dir"]).arg(host.path().join("reports"));
    run(&mut command, b"", SOON)?.ok()
}

/// The one report of the sandbox `id`, once it says this.
fn report_that(host: &Host, id: &str, what: &str, says: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(SOON, what, || {
        let all: Vec<Value> = serde_json::from_str(&reports(host, id, "json").ok()?).ok()?;
        let [report] = &all[..] else { return None };
        says(report).then(|| report.clone())
    })
}

/// The one report of the sandbox `id`, once nothing more is added to it.
fn report(host: &Host, id: &str) -> Result<Value> {
    // The version is learned last, where the sentry does not tell it.
    let whole = |report: &Value| report["ended_ms"].is_u64() && !text(report, "/runsc_version").is_empty();
    let report = report_that(host, id, "a report that is over", whole)?;
    println!("{}", reports(host, id, "text")?);
    let file = report["file"].as_str().context("no file")?;
    let mode =
        |path: &std::path::Path| Ok::<_, std::io::Error>(path.metadata()?.permissions().mode() & 0o777);
    let modes = (mode(file.as_ref())?, mode(&host.path().join("reports"))?);
    ensure!(modes == (0o600, 0o700), "{modes:?}");
    Ok(report)
}

fn text<'a>(report: &'a Value, pointer: &str) -> &'a str {
    report.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// All steps in order, each within its budget, and nothing left.
fn assert_ladder(report: &Value) -> Result<()> {
    let steps = list(report, "steps");
    let names: Vec<&str> = steps.iter().map(|step| text(step, "/step")).collect();
    ensure!(names == STEPS, "{names:?}");
    for step in steps {
        let (took, budget) = (step["took_ms"].as_u64().context("never back")?, step["budget_ms"].as_u64());
        // A busy machine lets a step come home late; the next one has begun by then all the same.
        ensure!(budget.is_some_and(|budget| took <= budget + 400), "{step}");
    }
    let began = |at: usize| steps[at]["began_ms"].as_u64().unwrap_or_default();
    ensure!(began(1) - began(0) <= 500, "the diagnostics have held up the escalation: {steps:?}");
    ensure!(list(report, "left").is_empty() && !list(report, "released").is_empty(), "{report}");
    let awaited =
        |one: &Value| text(one, "/what") == "awaited" && text(one, "/text").starts_with("SIGKILL of");
    ensure!(list(report, "timeline").iter().any(awaited), "{report}");
    ensure!(!text(report, "/sign").is_empty(), "{report}");
    Ok(())
}

/// Step 1 was over before the sentry had come to an answer: on a machine this busy nothing else is
/// promised.
fn had_no_time(report: &Value) -> bool {
    let took = list(report, "steps").first().and_then(|step| step["took_ms"].as_u64()).unwrap_or_default();
    let silent = text(report, "/stacks/note") == "the sentry did not answer in time";
    if silent {
        println!("too busy for stacks: step 1 took {took} ms");
    }
    silent && took >= 250
}

/// One line for each step in containerd's log, and an event at the beginning and the end.
fn assert_told(host: &Host, events: &EventLog, id: &str, report: &Value) -> Result<()> {
    let log = host.log();
    for step in STEPS {
        let of_rung = |line: &&str| {
            let field = if step.contains(' ') { format!(" step={step:?}") } else { format!(" step={step}") };
            line.contains(&field) && line.contains(&format!(" sandbox={id} "))
        };
        let lines: Vec<&str> = log.lines().filter(of_rung).collect();
        ensure!(lines.len() == 1, "step {step}: {lines:?}");
        for field in [" budget_ms=", " took_ms=", " left=0", " namespace=", " report="] {
            ensure!(lines[0].contains(field), "{}", lines[0]);
        }
    }
    let ours = |event: &Event| event.topic == "/runsc-guard/escalation" && event.text("sandbox_id") == id;
    let phases = eventually(SOON, "an event at the end", || {
        let phases: Vec<Event> = events.all().into_iter().filter(ours).collect();
        (phases.len() >= 2).then_some(phases)
    })?;
    let label =
        |event: &Event, name: &str| event.body["labels"][name].as_str().unwrap_or_default().to_owned();
    ensure!([0, 1].map(|at| label(&phases[at], "phase")) == ["begins", "ends"], "{phases:?}");
    ensure!(label(&phases[0], "sign") == text(report, "/sign"), "{phases:?}");
    ensure!(phases.iter().all(|event| label(event, "report") == text(report, "/file")), "{phases:?}");
    ensure!(label(&phases[1], "left") == "0" && !label(&phases[1], "took_ms").is_empty(), "{phases:?}");
    Ok(())
}

/// Kills are acknowledged and nothing exits: both the sentry and the real shim still tell what they do.
#[test]
fn a_pod_that_answers_and_does_not_die_tells_all() -> Result<()> {
    let host = Host::with([handler()])?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pods = host.ctr().in_namespace("k8s.io");
    let events = EventLog::start(&pods)?;
    let pod = cri.run_pod("h", "subject")?;
    cri.run_container(&pod, "c", &["sleep", "100000"])?;
    faults::pause(&host, &pods, &pod.id)?;
    let until = Instant::now() + SOON;
    while cri.stop_pod(&pod, Duration::from_secs(10)).is_err() {
        ensure!(Instant::now() < until, "it was not ended");
    }
    let report = report(&host, &pod.id)?;
    assert_ladder(&report)?;
    let paused = text(&report, "/stacks/text").contains("kernel.(*Task).doStop");
    let verdict = text(&report, "/verdict").contains("it was paused");
    ensure!(paused && verdict || had_no_time(&report), "{} {}", report["stacks"], report["verdict"]);
    ensure!(text(&report, "/goroutines/text").starts_with("goroutine "), "{}", report["goroutines"]);
    ensure!(report["goroutines"]["truncated"] == false, "{}", report["goroutines"]);
    assert_told(&host, &events, &pod.id, &report)?;
    cri.remove_pod(&pod, SOON)?;
    assert_nothing_left(&host, &before, SOON)
}

/// A stand-alone container that is asked to go once it is hurt.
fn ended(host: &Host, hurt: impl FnOnce(&Sandbox) -> Result<()>) -> Result<(Value, Duration)> {
    let ctr = host.ctr();
    ctr.start(&host.handler("h")?, "subject", &["sleep", "100000"])?;
    hurt(&Sandbox::of(host, "subject")?)?;
    let began = Instant::now();
    let asked = |outcome: Result<Outcome>| outcome.is_ok_and(|outcome| outcome.success());
    while !asked(ctr.force_delete_task("subject", SOON)) {
        ensure!(began.elapsed() < SOON, "it was not ended");
        thread::yield_now();
    }
    let took = began.elapsed();
    ctr.delete_container("subject")?;
    Ok((report(host, "subject")?, took))
}

/// A sentry that cannot answer is not asked, and the verdict says why it cannot.
#[test]
fn a_stopped_sentry_is_not_asked_and_called_stopped() -> Result<()> {
    let host = Host::with([handler()])?;
    let before = Resources::of(&host);
    let events = EventLog::start(&host.ctr())?;
    let (report, _) = ended(&host, Sandbox::stop_sentry)?;
    assert_ladder(&report)?;
    ensure!(text(&report, "/stacks/text").is_empty(), "{}", report["stacks"]);
    ensure!(text(&report, "/stacks/note").contains("is stopped"), "{}", report["stacks"]);
    ensure!(
        text(&report, "/verdict").contains("was stopped: somebody sent it SIGSTOP"),
        "{}",
        report["verdict"]
    );
    assert_told(&host, &events, "subject", &report)?;
    assert_nothing_left(&host, &before, SOON)
}

/// A real shim that cannot dump its goroutines holds up nothing.
#[test]
fn a_stopped_real_shim_gives_no_goroutines_and_no_delay() -> Result<()> {
    let host = Host::with([handler()])?;
    let before = Resources::of(&host);
    let (report, took) = ended(&host, |sandbox| faults::stop(&sandbox.real_shim))?;
    // containerd asks State first, and waits a second for it.
    let promised = Duration::from_secs(1) + DEADLINE + ESCALATION;
    ensure!(took <= promised, "late: {took:?}");
    assert_ladder(&report)?;
    ensure!(text(&report, "/goroutines/text").is_empty(), "{}", report["goroutines"]);
    let stacks = text(&report, "/stacks/text").contains("goroutine ");
    ensure!(stacks || had_no_time(&report), "{}", report["stacks"]);
    ensure!(text(&report, "/verdict").contains("real shim"), "{}", report["verdict"]);
    assert_nothing_left(&host, &before, SOON)
}

/// A Create that hangs is torn down, and that is in a report too.
#[test]
fn a_create_that_never_returns_has_a_report() -> Result<()> {
    let host = Host::with([handler()])?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    let flags = ["--detach", "--null-io"];
    let args = ctr.bare_run_args(&host.handler("h")?, &flags, "subject", &["sleep", "100000"]);
    let outcome = run(&mut ctr.command(&args), b"", SOON)?;
    ensure!(!outcome.success() && outcome.stderr.contains("guard"), "{outcome:?}");
    let report = report(&host, "subject")?;
    let names: Vec<&str> = list(&report, "steps").iter().map(|step| text(step, "/step")).collect();
    ensure!(names == ["kill_create", "kill_all", "release"], "{names:?}");
    let goroutines = text(&report, "/goroutines/text");
    let step = list(&report, "steps")[0]["took_ms"].as_u64().unwrap_or_default();
    // On a machine that busy the real shim has told of its goroutines too late, or not at all.
    ensure!(goroutines.contains("Create") || step >= 100, "{step} ms: {goroutines}");
    ensure!(text(&report, "/sign").contains("Create of subject did not return"), "{report}");
    ensure!(
        !list(&report["diagnostics"], "processes").is_empty() && list(&report, "left").is_empty(),
        "{report}"
    );
    assert_nothing_left(&host, &before, SOON)
}

/// What the kernel does not let die is named in the report while it lives, and gone from it when it has died.
#[test]
fn what_cannot_die_is_in_the_report_until_it_does() -> Result<()> {
    let handler = Handler::quick("h", "2s").guard("abort_fuse", "false");
    let host = Host::with([handler])?;
    let (ctr, before) = (host.ctr(), Resources::of(&host));
    let fuse = faults::fuse_volume(&host, "volumes/v".as_ref())?;
    let flags = ["--detach", "--null-io", &faults::volume_flag(fuse.point())];
    let args = ctr.run_args(&host.handler("h")?, &flags, "subject", faults::READS_VOLUME);
    run(&mut ctr.command(&args), b"", SOON)?.ok()?;
    faults::hang_fuse(&fuse)?;
    ctr.kill("subject", "SIGKILL", SOON)?;
    let stuck = |report: &Value| {
        let tried = list(report, "steps").iter().any(|step| text(step, "/step") == "unblock");
        tried
            && list(report, "left").iter().any(|one| one.as_str().is_some_and(|one| one.contains("state D")))
    };
    let report_of_stuck = report_that(&host, "subject", "a report that names it", stuck)?;
    ensure!(report_of_stuck["ended_ms"].is_null(), "{report_of_stuck}");
    let verdict = text(&report_of_stuck, "/verdict");
    ensure!(
        verdict.starts_with("the kernel does not let it die") && verdict.contains("state D"),
        "{verdict}"
    );
    fuse.answer();
    let report = report(&host, "subject")?;
    ensure!(list(&report, "left").is_empty(), "{}", report["left"]);
    ensure!(text(&report, "/verdict").contains("a FUSE server"), "{}", report["verdict"]);
    eventually(SOON, "containerd lets go of it", || {
        ctr.delete_task("subject", SOON).ok()?;
        ctr.delete_container("subject").ok()
    })?;
    fuse.end()?;
    assert_nothing_left(&host, &before, SOON)
}
