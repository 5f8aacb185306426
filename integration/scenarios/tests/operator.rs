//! The operator's command on real sandboxes: it tells the stuck from the healthy, ends the former and never the
//! latter, and is never held up itself, whatever hangs.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_gone, assert_nothing_left},
    process::Process,
    run, write_script,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

/// What `ls` and `show` promise, whatever hangs.
const PROMISE: Duration = Duration::from_secs(2);
const HEALTHY: [&str; 3] = ["healthy-1", "healthy-2", "healthy-3"];

fn host(guarded: bool) -> Result<Host> {
    let handler = if guarded { Handler::guarded("h") } else { Handler::unguarded("h") };
    Host::with([handler])
}

fn start(host: &Host, id: &str) -> Result<Sandbox> {
    host.ctr().start(&host.handler("h")?, id, &["sleep", "100000"])?;
    Sandbox::of(host, id)
}

/// `runsc-guard`, only for this host's namespace: others' sandboxes may be on this machine.
fn operator(host: &Host, args: &[&str]) -> Result<Outcome> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    ensure!(program.is_file(), "no runsc-guard beside the guard, at {}", program.display());
    let mut command = Command::new(program);
    command.args(["--namespace", host.tag()]).args(args);
    if args.first() == Some(&"reap") {
        command.arg("--report-dir").arg(host.path().join("reports"));
    }
    let outcome = run(&mut command, b"", 3 * SOON)?;
    let said = if args.contains(&"json") { "" } else { &outcome.stdout };
    println!(
        "runsc-guard {}: {:?} after {:?}\n{}{}",
        args.join(" "),
        outcome.code(),
        outcome.took,
        said,
        outcome.stderr
    );
    Ok(outcome)
}

/// What `ls` says of each sandbox.
fn listed(host: &Host) -> Result<BTreeMap<String, Value>> {
    let outcome = operator(host, &["ls", "-o", "json"])?;
    ensure!(outcome.took < PROMISE, "ls took {:?}", outcome.took);
    let all: Vec<Value> = serde_json::from_str(&outcome.ok()?)?;
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    Ok(all.into_iter().map(|one| (id(&one), one)).collect())
}

fn states(host: &Host) -> Result<BTreeMap<String, String>> {
    let state = |(id, one): (String, Value)| (id, one["state"].as_str().unwrap_or_default().to_owned());
    Ok(listed(host)?.into_iter().map(state).collect())
}

fn expect(host: &Host, expected: &[(&str, &str)]) -> Result<()> {
    let expected = expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect();
    let states = states(host)?;
    ensure!(states == expected, "{states:?} instead of {expected:?}");
    Ok(())
}

fn show(host: &Host, id: &str, needles: &[&str]) -> Result<()> {
    let outcome = operator(host, &["show", id])?;
    ensure!(outcome.took < PROMISE, "show took {:?}", outcome.took);
    let text = outcome.ok()?;
    for needle in needles {
        ensure!(text.contains(needle), "show {id} does not say {needle:?}:\n{text}");
    }
    Ok(())
}

/// What a shell is told that asks how `runsc-guard show BEGIN` may go on.
fn completes(host: &Host, begin: &str, ids: &[&str]) -> Result<()> {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    command.envs([("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("_CLAP_IFS", "\n")]);
    command.args(["--", "runsc-guard", "show", begin]);
    let told = run(&mut command, b"", SOON)?.ok()?;
    let all: Vec<&str> = told.lines().collect();
    ensure!(ids.iter().all(|id| all.contains(id)), "{ids:?} are not all among {all:?}");
    Ok(())
}

fn containerd(host: &Host) -> Result<Process> {
    let is = |process: &Process| process.args.first().is_some_and(|arg| arg.ends_with("/containerd"));
    host.processes().into_iter().find(is).context("no containerd")
}

/// Three that nobody may touch.
fn healthy(host: &Host) -> Result<Vec<Sandbox>> {
    HEALTHY.iter().map(|id| start(host, id)).collect()
}

fn assert_untouched(host: &Host, before: &[Sandbox]) -> Result<()> {
    for (sandbox, id) in before.iter().zip(HEALTHY) {
        for process in [&sandbox.sentry, &sandbox.real_shim] {
            process.assert_spared().context(id)?;
        }
        let answer = host.ctr().exec(id, "look", &["echo", "well"], b"", SOON)?;
        ensure!(answer.stdout == "well\n", "{id} answers {answer:?}");
    }
    Ok(())
}

/// Two wedged ones among three healthy ones, with containerd at work.
fn the_wedged_end_and_the_healthy_stay(guarded: bool) -> Result<()> {
    let host = host(guarded)?;
    let before = Resources::of(&host);
    let healthy = healthy(&host)?;
    let stopped = start(&host, "stopped")?;
    let frozen = start(&host, "frozen")?;
    let all: [&str; 5] = ["frozen", HEALTHY[0], HEALTHY[1], HEALTHY[2], "stopped"];
    expect(&host, &all.map(|id| (id, "running")))?;
    let nothing = operator(&host, &["reap", "--wedged", "--yes"])?;
    ensure!(nothing.success() && nothing.stdout.contains("nothing of that kind"), "{nothing:?}");

    stopped.stop_sentry()?;
    frozen.freeze()?;
    let wedged = |id| if HEALTHY.contains(&id) { (id, "running") } else { (id, "wedged") };
    expect(&host, &all.map(wedged))?;
    let pid = stopped.sentry.pid.to_string();
    show(&host, "stop", &["wedged", "stopped (state T)", &pid, "Cgroups", "--platform=systrap"])?;
    show(&host, HEALTHY[0], &["running", "rootfs", "link lo"])?;
    completes(&host, "health", &HEALTHY)?;

    let dry = operator(&host, &["reap", "--wedged", "--dry-run"])?;
    ensure!(dry.success() && dry.stdout.contains(&format!("sentry {pid}")), "{dry:?}");
    let unasked = operator(&host, &["reap", "--wedged"])?;
    ensure!(unasked.code() == Some(2), "on no terminal nobody can be asked: {unasked:?}");
    for left in [&stopped, &frozen] {
        left.sentry.assert_spared().context("a dry run")?;
    }

    let reaped = operator(&host, &["reap", "--wedged", "--yes"])?;
    ensure!(reaped.success(), "{reaped:?}");
    ensure!(!stopped.sentry.is_alive() && !frozen.sentry.is_alive(), "they live on");
    assert_untouched(&host, &healthy)?;
    let folder = host.path().join("reports");
    let reports = operator(&host, &["reports", "stop", "--report-dir", &folder.to_string_lossy()])?.ok()?;
    ensure!(reports.contains(&format!("sentry {pid} was stopped")), "{reports}");
    // containerd has heard of the ends, and clears away as ever.
    for id in ["stopped", "frozen"] {
        eventually(SOON, "containerd sees it stopped", || {
            let tasks = host.ctr().tasks(SOON).ok()?;
            tasks.iter().any(|task| task.id == id && task.status == "STOPPED").then_some(())
        })?;
        host.ctr().delete_task(id, SOON)?;
        host.ctr().delete_container(id)?;
        assert_gone(&host, id, SOON)?;
    }
    expect(&host, &HEALTHY.map(|id| (id, "running")))?;
    for id in HEALTHY {
        host.ctr().remove(id)?;
    }
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn guarded_wedges_end_and_the_healthy_stay() -> Result<()> {
    the_wedged_end_and_the_healthy_stay(true)
}

#[test]
fn unguarded_wedges_end_and_the_healthy_stay() -> Result<()> {
    the_wedged_end_and_the_healthy_stay(false)
}

/// containerd stands still; a shim (and its guard) is killed, another sandbox is stopped.
/// State is asked so rarely (the guard answers most) that one which was slow is all that is known of the real shim.
#[test]
fn a_sandbox_whose_runsc_state_is_slow_is_not_wedged() -> Result<()> {
    let host = host(true)?;
    let slow = host.path().join("slow-runsc");
    let runsc = host.parts().runsc.display();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" state \"*) sleep 3 </dev/null >/dev/null 2>&1;; esac\nexec {runsc} \"$@\"\n"
    );
    write_script(&slow, &script)?;
    host.add_handler(&host.handler("h")?.runsc(slow))?;
    let before = Resources::of(&host);
    let sandbox = start(&host, "subject")?;
    let word = |one: &Value, name: &str| one.pointer(&format!("/guard/says/1/{name}")).cloned();
    // With an answer long ago, and a State that was given up.
    let state = eventually(3 * SOON, "a State is not answered", || {
        let _ = host.ctr().tasks(SOON);
        let subject = listed(&host).ok()?.remove("subject")?;
        let long_ago = word(&subject, "answered_ms_ago")?.as_u64()? >= 10_000;
        (long_ago && word(&subject, "unanswered")? == "State").then(|| subject["state"].clone())
    })?;
    ensure!(state == "running", "it is called {state}");
    ensure!(sandbox.sentry.is_alive(), "it was ended");
    host.ctr().force_delete_task("subject", SOON)?.ok()?;
    host.ctr().delete_container("subject")?;
    assert_nothing_left(&host, &before, SOON)
}

fn with_containerd_stopped(guarded: bool) -> Result<()> {
    let host = host(guarded)?;
    let before = Resources::of(&host);
    let healthy = healthy(&host)?;
    let orphan = start(&host, "orphan")?;
    let wedged = start(&host, "wedged")?;
    let containerd = containerd(&host)?;
    faults::stop(&containerd)?;
    for process in orphan.guard.iter().chain([&orphan.real_shim]) {
        process.signal(Signal::KILL)?;
        process.wait_gone(SOON)?;
    }
    wedged.stop_sentry()?;
    let mut expected = HEALTHY.map(|id| (id, "running")).to_vec();
    expected.extend([("orphan", "orphaned"), ("wedged", "wedged")]);
    expect(&host, &expected)?;
    show(&host, "orphan", &["orphaned", "dead"])?;
    show(&host, "wedged", &["wedged", "stopped"])?;

    let reaped = operator(&host, &["reap", "--orphaned", "--yes"])?;
    ensure!(reaped.success() && !orphan.sentry.is_alive(), "{reaped:?}");
    wedged.sentry.assert_spared().context("a wedged one is no orphan")?;
    let reaped = operator(&host, &["reap", "wedged", "--yes"])?;
    ensure!(reaped.success() && !wedged.sentry.is_alive(), "{reaped:?}");
    let states = states(&host)?;
    ensure!(!states.contains_key("orphan"), "the orphan has left something: {states:?}");
    for process in healthy.iter().flat_map(|one| [&one.sentry, &one.real_shim]) {
        process.assert_spared().context("a healthy one")?;
    }

    containerd.signal(Signal::CONT)?;
    assert_untouched(&host, &healthy)?;
    for id in ["orphan", "wedged"] {
        eventually(SOON, "containerd lets go of it", || {
            host.ctr().delete_task(id, SOON).ok()?;
            host.ctr().delete_container(id).ok()
        })?;
    }
    for id in HEALTHY {
        host.ctr().remove(id)?;
    }
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn guarded_orphans_end_while_containerd_is_stopped() -> Result<()> {
    with_containerd_stopped(true)
}

#[test]
fn unguarded_orphans_end_while_containerd_is_stopped() -> Result<()> {
    with_containerd_stopped(false)
}

/// Nobody answers any more but the operator's command.
fn with_everything_stopped(guarded: bool) -> Result<()> {
    let host = host(guarded)?;
    let before = Resources::of(&host);
    let sandbox = start(&host, "subject")?;
    sandbox.stop_all_but_guard()?;
    if let Some(guard) = &sandbox.guard {
        faults::stop(guard)?;
    }
    expect(&host, &[("subject", "wedged")])?;
    let guard = if guarded { "has not answered" } else { "none: the unguarded shim" };
    show(&host, "subject", &["sentry", "real shim", "stopped (state T)", guard])?;
    let reaped = operator(&host, &["reap", "--wedged", "--yes"])?;
    ensure!(reaped.success(), "{reaped:?}");
    for process in sandbox.guard.iter().chain([&sandbox.real_shim, &sandbox.sentry]) {
        ensure!(!process.is_alive(), "{process} lives on");
    }
    eventually(SOON, "containerd lets go of it", || {
        host.ctr().delete_task("subject", SOON).ok()?;
        host.ctr().delete_container("subject").ok()
    })?;
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn a_sandbox_whose_guard_is_stopped_too_is_ended_in_its_place() -> Result<()> {
    with_everything_stopped(true)
}

#[test]
fn an_unguarded_sandbox_whose_shim_is_stopped_too_is_ended() -> Result<()> {
    with_everything_stopped(false)
}

/// What the kernel does not let die is named, and not said to be gone.
fn with_a_volume_that_hangs(guarded: bool) -> Result<()> {
    let handler =
        if guarded { Handler::guarded("h").guard("abort_fuse", "false") } else { Handler::unguarded("h") };
    let host = Host::with([handler])?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let fuse = faults::fuse_volume(&host, "volumes/v".as_ref())?;
    let flags = ["--detach", "--null-io", &faults::volume_flag(fuse.point())];
    let args = ctr.run_args(&host.handler("h")?, &flags, "subject", faults::READS_VOLUME);
    run(&mut ctr.command(&args), b"", 3 * SOON)?.ok()?;
    let sandbox = Sandbox::of(&host, "subject")?;
    faults::hang_fuse(&fuse)?;
    let reaped = operator(&host, &["reap", "subject", "--yes"])?;
    ensure!(reaped.code() == Some(1), "{reaped:?}");
    ensure!(reaped.stdout.contains("left behind") && reaped.stdout.contains("state D in"), "{reaped:?}");
    expect(&host, &[("subject", "unkillable")])?;
    show(&host, "subject", &["unkillable", " D "])?;
    fuse.answer();
    sandbox.sentry.wait_gone(SOON)?;
    eventually(SOON, "containerd lets go of it", || {
        ctr.delete_task("subject", SOON).ok()?;
        ctr.delete_container("subject").ok()
    })?;
    fuse.end()?;
    let outcome = assert_nothing_left(&host, &before, SOON);
    ensure!(states(&host)?.is_empty(), "something is still listed");
    outcome
}

#[test]
fn a_guarded_sandbox_that_cannot_die_is_named() -> Result<()> {
    with_a_volume_that_hangs(true)
}

#[test]
fn an_unguarded_sandbox_that_cannot_die_is_named() -> Result<()> {
    with_a_volume_that_hangs(false)
}

/// A whole unguarded pod with two containers, each under a shim of its own.
#[test]
fn an_unguarded_pod_is_one_sandbox_with_a_name() -> Result<()> {
    let host = host(false)?;
    let cri = host.cri()?;
    let mut before = Resources::of(&host);
    let pod = cri.run_pod("h", "subject")?;
    for name in ["one", "two"] {
        cri.run_container(&pod, name, &["sleep", "100000"])?;
    }
    let sandbox = Sandbox::of(&host, &pod.id)?;
    sandbox.stop_sentry()?;
    let in_pods = |args: &[&str]| {
        let program = host.parts().guard.with_file_name("runsc-guard");
        let reports = host.path().join("reports");
        let mut command = Command::new(program);
        command.args(args);
        if args.first() == Some(&"reap") {
            command.arg("--report-dir").arg(reports);
        }
        run(&mut command, b"", 3 * SOON)
    };
    let all: Vec<Value> = serde_json::from_str(&in_pods(&["ls", "-n", "k8s.io", "-o", "json"])?.ok()?)?;
    let one = all.iter().find(|one| one["id"] == pod.id.as_str()).context("not listed")?;
    ensure!(one["state"] == "wedged" && one["namespace"] == "k8s.io", "{one}");
    ensure!(one["pod"]["name"] == "subject", "{one}");
    ensure!(one["containers"].as_array().is_some_and(|all| all.len() == 3), "{one}");
    let reaped = in_pods(&["reap", &pod.id, "--yes"])?;
    println!("{}{}", reaped.stdout, reaped.stderr);
    ensure!(reaped.success() && !sandbox.sentry.is_alive(), "{reaped:?}");
    eventually(SOON, "the pod ends for the kubelet", || cri.stop_pod(&pod, SOON).ok())?;
    cri.remove_pod(&pod, SOON)?;
    // gVisor's own leftover, now and then: `runsc delete` of one container looks at all others of its sandbox
    // (runsc/container/state_file.go, LoadSandbox), and so makes the lock anew of one that the shim beside it has just
    // deleted.
    let lock = format!("{0}_sandbox:{0}.lock", pod.id);
    before.runsc.insert(host.runsc_root("k8s.io").join(lock));
    assert_nothing_left(&host, &before, SOON)
}

/// Whoever can start a process can call it `runsc-sandbox`.
#[test]
fn what_only_calls_itself_a_sandbox_is_left_alone() -> Result<()> {
    let host = host(false)?;
    let root = format!("--root={}", host.runsc_root(host.tag()).display());
    let mut liar = Command::new("sh")
        .arg0("runsc-sandbox")
        .args(["-c", "read x", &root, "boot", "--bundle=/nowhere", "liar"])
        .stdin(Stdio::piped())
        .spawn()?;
    let outcome =
        eventually(SOON, "it is listed", || (states(&host).ok()?.get("liar")? == "unproven").then_some(()))
            .and_then(|()| operator(&host, &["reap", "liar", "--yes"]));
    let alive = liar.try_wait()?.is_none();
    // Our own child, not yet waited for.
    liar.kill()?;
    liar.wait()?;
    let outcome = outcome?;
    ensure!(alive && outcome.code() == Some(1), "{outcome:?}");
    ensure!(outcome.stderr.contains("cannot be proved to be a gVisor sandbox"), "{outcome:?}");
    Ok(())
}

/// A guard of another version, whose folder says what this command cannot read, is a guard all the same.
#[test]
fn a_guard_that_cannot_be_read_makes_nobody_an_orphan() -> Result<()> {
    let host = host(true)?;
    let before = Resources::of(&host);
    start(&host, "subject")?;
    let name = faults::guards_name(&host, host.ctr().namespace(), "subject");
    let params = std::path::Path::new("/run/runsc-guard").join(name).join("params.json");
    ensure!(params.is_file(), "{} is not there", params.display());
    std::fs::write(&params, r#"{"version":"of another day"}"#)?;
    expect(&host, &[("subject", "running")])?;
    show(&host, "subject", &["cannot be read"])?;
    let reaped = operator(&host, &["reap", "--orphaned", "--yes"])?;
    ensure!(reaped.success() && reaped.stdout.contains("nothing of that kind"), "{reaped:?}");
    expect(&host, &[("subject", "running")])?;
    host.ctr().remove("subject")?;
    assert_nothing_left(&host, &before, SOON)
}
