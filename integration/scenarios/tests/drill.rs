//! `drill`: what it starts hangs and ends as promised, with CRI and without, under every containerd; without the guard it
//! hangs on, and is removed all the same. Interrupted or killed at any moment, nothing is left, at the latest by the next
//! one. A healthy neighbour notices nothing.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, Parts, SOON, Versions, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    promise::{DEADLINE, ESCALATION, QUERY},
    run,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const NAMESPACE: &str = "runsc-guard-drill";
/// What the steps before and after the measured one take, at most, on a busy machine.
const AROUND: Duration = SOON;

fn command(host: &Host, args: &[&str]) -> Command {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    command.args(["drill", "--address"]).arg(host.socket()).args(args);
    command
}

fn drill(host: &Host, args: &[&str]) -> Result<Outcome> {
    let outcome = run(&mut command(host, args), b"", 3 * SOON)?;
    println!("drill {}: {:?}\n{}{}", args.join(" "), outcome.code(), outcome.stdout, outcome.stderr);
    Ok(outcome)
}

fn assert_clean(host: &Host, before: &Resources) -> Result<()> {
    ensure!(host.cri()?.pods(SOON)?.is_empty(), "containerd still has a pod");
    let ours = host.ctr().in_namespace(NAMESPACE);
    ensure!(ours.containers()?.is_empty(), "containerd still has a container");
    let namespaces = host.ctr().call(&["namespaces", "ls", "--quiet"], SOON)?.ok()?;
    ensure!(!namespaces.contains(NAMESPACE), "containerd still has the namespace");
    // Those of a drill beside this one go, too.
    let there = cgroups();
    eventually(SOON, "no cgroup of a drill is left", || there.iter().all(|one| !one.exists()).then_some(()))
        .with_context(|| format!("{there:?}"))?;
    assert_nothing_left(host, before, SOON)
}

/// What `-o json` says.
fn told(outcome: &Outcome) -> Result<Value> {
    serde_json::from_str(&outcome.stdout).context("not JSON")
}

/// Every cgroup of a drill: they have its name, in the folder of the hierarchy.
fn cgroups() -> Vec<PathBuf> {
    let tops = harness::traces::hierarchies().into_iter().filter_map(|top| std::fs::read_dir(top).ok());
    let names =
        tops.flatten().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(NAMESPACE));
    names.map(|entry| entry.path()).collect()
}

fn ends_as_promised(host: &Host, before: &Resources, via: &str) -> Result<()> {
    let outcome = drill(host, &["--via", via, "-o", "json"])?;
    ensure!(outcome.success(), "{outcome:?}");
    let told = told(&outcome)?;
    let promise = (QUERY + DEADLINE + ESCALATION).as_millis();
    ensure!(told["kept"] == true && told["promise_ms"] == u64::try_from(promise)?, "{told}");
    let ended = Duration::from_millis(told["ended_ms"].as_u64().context("not ended")?);
    ensure!(ended >= DEADLINE, "it did not hang at all: {told}");
    ensure!(ended <= QUERY + DEADLINE + ESCALATION && outcome.took <= ended + AROUND, "late: {told}");
    ensure!(told["kind"] == if via == "cri" { "pod" } else { "task" }, "{told}");
    let report = told["report"].as_str().context("no report")?;
    ensure!(std::fs::read_to_string(report)?.contains(told["id"].as_str().unwrap_or("?")), "{report}");
    assert_clean(host, before)
}

fn as_promised_by_both(versions: Versions) -> Result<()> {
    let host =
        Host::builder().parts(Parts::of(versions)?).handler(Handler::quick("subject", "2s")).start()?;
    let before = Resources::of(&host);
    for via in ["cri", "task"] {
        ends_as_promised(&host, &before, via)?;
    }
    Ok(())
}

fn versions(containerd: &str) -> Result<Versions> {
    let is = |one: &Versions| one.containerd == containerd && one.gvisor == "2026-09";
    Versions::all()?.into_iter().find(is).context("not pinned")
}

#[test]
fn a_pod_and_a_task_end_as_promised_beside_a_healthy_neighbour() -> Result<()> {
    let host = Host::guarded("2s")?;
    let handler = host.handler("guarded")?;
    host.ctr().start(&handler, "neighbour", &["sleep", "100000"])?;
    let neighbour = Sandbox::of(&host, "neighbour")?;
    let before = Resources::of(&host);
    for via in ["cri", "task"] {
        let outcome = drill(&host, &["--via", via])?;
        ensure!(outcome.success(), "{outcome:?}");
        for line in ["SIGSTOP", "the sentry is dead", "nothing is left", "kept: ended "] {
            ensure!(outcome.stdout.contains(line), "{line}: {outcome:?}");
        }
    }
    assert_nothing_left(&host, &before, SOON)?;
    for process in [&neighbour.sentry, &neighbour.real_shim] {
        process.assert_spared()?;
    }
    let answer = host.ctr().exec("neighbour", "look", &["echo", "well"], b"", SOON)?;
    ensure!(answer.stdout == "well\n", "{answer:?}");
    host.ctr().remove("neighbour")
}

#[test]
fn on_containerd_2_4() -> Result<()> {
    as_promised_by_both(versions("2.4.2")?)
}

#[test]
fn on_containerd_1_7() -> Result<()> {
    as_promised_by_both(versions("1.7.35")?)
}

#[test]
fn on_containerd_1_6() -> Result<()> {
    as_promised_by_both(versions("1.6.20")?)
}

/// Without the guard nothing ends it but the drill itself.
#[test]
fn unguarded_it_hangs_and_is_removed_all_the_same() -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "2s"))?;
    let before = Resources::of(&host);
    for via in ["cri", "task"] {
        let outcome = drill(&host, &["--unguarded", "--via", via, "-o", "json"])?;
        ensure!(outcome.code() == Some(1), "{outcome:?}");
        let told = told(&outcome)?;
        ensure!(told["kept"] == false && told["ended_ms"].is_null(), "{told}");
        // What the guard would have promised here.
        ensure!(told["promise_ms"] == u64::try_from((QUERY + DEADLINE + ESCALATION).as_millis())?, "{told}");
        ensure!(told["why_not"].as_str().is_some_and(|why| why.contains("was not ended within")), "{told}");
        ensure!(told["left"].as_array().is_some_and(Vec::is_empty), "{told}");
        assert_clean(&host, &before)?;
    }
    Ok(())
}

fn start(host: &Host, args: &[&str]) -> Result<Child> {
    Ok(command(host, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// `RUNSC_GUARD_DRILLS`: how many of them.
#[test]
fn interrupted_at_any_moment_it_leaves_nothing() -> Result<()> {
    let count: u32 = std::env::var("RUNSC_GUARD_DRILLS").ok().map_or(Ok(4), |count| count.parse())?;
    let host = Host::pair(Handler::quick("guarded", "2s"))?;
    let before = Resources::of(&host);
    let whole = drill(&host, &["--via", "cri"])?;
    ensure!(whole.success(), "{whole:?}");
    for round in 0..count {
        // Evenly over all of its life, in turns by each signal; the second half of that without the guard.
        let signal = [Signal::KILL, Signal::INT, Signal::KILL, Signal::TERM][round as usize % 4];
        let via = if round % 3 == 2 { "task" } else { "cri" };
        let args = if round % 4 < 2 { vec!["--via", via] } else { vec!["--via", via, "--unguarded"] };
        let moment = whole.took * (2 * round + 1) / (2 * count);
        let mut child = start(&host, &args)?;
        let began = Instant::now();
        while began.elapsed() < moment && child.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Our own child, not yet waited for.
        kill_process(Pid::from_child(&child), signal)?;
        let output = child.wait_with_output()?;
        println!(
            "{args:?}, signal {} after {moment:?}: {}\n{}{}",
            signal.as_raw(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if signal != Signal::KILL {
            let code = output.status.code();
            ensure!(code == Some(128 + signal.as_raw()) || code == Some(0), "{}", output.status);
            assert_clean(&host, &before)?;
        }
    }
    ends_as_promised_after(&host, &before)
}

/// The next one removes what there is and keeps its own promise.
fn ends_as_promised_after(host: &Host, before: &Resources) -> Result<()> {
    let outcome = drill(host, &["--handler", "guarded"])?;
    ensure!(outcome.success(), "{outcome:?}");
    assert_clean(host, before)
}
