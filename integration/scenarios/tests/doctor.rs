//! `runsc-guard doctor` on a real containerd: a healthy node passes, what is broken or stuck is named with a remedy,
//! and nothing that hangs holds it up.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, SOON, eventually,
    faults::{self, Sandbox},
    process::Process,
    run,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

mod wrong;

/// What `doctor` promises, whatever hangs.
const PROMISE: Duration = Duration::from_secs(2);
/// For how many seconds a runsc hangs, as nothing else here does.
const HANGS: &str = "7654321";

/// `runsc-guard doctor` for this host alone, within its promise.
fn doctor(host: &Host, args: &[&str]) -> Result<Outcome> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    ensure!(program.is_file(), "no runsc-guard beside the guard, at {}", program.display());
    let mut command = Command::new(program);
    command.args(["--namespace", host.tag(), "doctor", "--address"]).arg(host.socket()).args(args);
    let outcome = run(&mut command, b"", SOON)?;
    println!("doctor {}: {:?} after {:?}\n{}", args.join(" "), outcome.code(), outcome.took, outcome.stdout);
    ensure!(outcome.took < PROMISE, "doctor took {:?}", outcome.took);
    Ok(outcome)
}

/// What fails on this node, with the remedies.
fn fails(host: &Host, args: &[&str]) -> Result<Vec<(String, String)>> {
    let outcome = doctor(host, &[&["-o", "json"], args].concat())?;
    let all: Vec<Value> = serde_json::from_str(&outcome.stdout).context("not JSON")?;
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let fails: Vec<_> = all
        .iter()
        .filter(|one| one["level"] == "fail")
        .map(|one| (text(one, "what"), text(one, "remedy")))
        .collect();
    let code = i32::from(!fails.is_empty());
    ensure!(outcome.code() == Some(code), "{:?} with {fails:?}", outcome.code());
    Ok(fails)
}

/// Exactly these fail: for each words of what was found, and of the remedy.
fn fails_with(host: &Host, args: &[&str], expected: &[(&str, &str)]) -> Result<()> {
    let fails = fails(host, args)?;
    let fits = fails.len() == expected.len()
        && fails
            .iter()
            .zip(expected)
            .all(|((what, remedy), (words, told))| what.contains(words) && remedy.contains(told));
    ensure!(fits, "{fails:#?} instead of {expected:#?}");
    Ok(())
}

/// A runsc that never returns.
fn hanging(host: &Host) -> Result<PathBuf> {
    let path = host.path().join("runsc-hangs");
    // Not by `exec`: what it has started holds its output, and must go, too.
    harness::write_script(&path, &format!("#!/bin/sh\nsleep {HANGS}\n"))?;
    Ok(path)
}

#[test]
fn a_guarded_node_is_healthy_until_something_is_broken() -> Result<()> {
    let host = Host::with([Handler::guarded("h")])?;
    let healthy = host.handler("h")?;
    // Where the configuration lies is told by the running containerd's own command line.
    let outcome = doctor(&host, &[])?;
    ensure!(outcome.code() == Some(0), "{outcome:?}");
    for words in ["answers at", "version 2.4", "[guard] is valid", "platform systrap", "none stuck"] {
        ensure!(outcome.stdout.contains(words), "does not say {words:?}: {}", outcome.stdout);
    }
    let fragment = doctor(&host, &["--fix"])?.ok()?;
    // The handler's table a second time would be refused by containerd.
    let file = host.config_path(&healthy);
    let says = fragment.contains("h has the guard, nothing to add") && !fragment.contains("[plugins.");
    ensure!(says && fragment.contains(&file.display().to_string()), "{fragment}");

    host.add_handler(&healthy.clone().runsc(hanging(&host)?))?;
    fails_with(&host, &[], &[("did not return in time", "--version")])?;
    let left = || Process::all().into_iter().any(|process| process.args.iter().any(|arg| arg == HANGS));
    eventually(SOON, "the hanging runsc is gone", || (!left()).then_some(()))?;
    host.add_handler(&healthy.clone().guard("kil_deadline", "\"2s\""))?;
    fails_with(&host, &[], &[("[guard] kil_deadline: no such key", "mend that line")])?;
    host.add_handler(&healthy)?;
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("containerd-shim-runsc-v1\"", "no-such-shim\""))?;
    fails_with(&host, &[], &[("gVisor's shim is not found", "shim = ")])?;
    std::fs::remove_file(&file)?;
    fails_with(&host, &[], &[("no pod starts", "mend that line or file")])?;
    host.add_handler(&healthy)?;
    std::fs::remove_file(host.path().join("bin/containerd-shim-runsc-guard-v2"))?;
    fails_with(&host, &[], &[("does not find the guard", "on containerd's PATH")])?;
    let nowhere = host.path().join("no-such.toml");
    let named = ["--containerd-config", &nowhere.to_string_lossy()];
    let fails = fails(&host, &named)?;
    ensure!(fails.iter().any(|(what, _)| what.contains("no-such.toml")), "{fails:?}");
    Ok(())
}

#[test]
fn a_deadline_beyond_containerds_own_timeout_fails() -> Result<()> {
    let timeouts = "[timeouts]\n\"io.containerd.timeout.task.state\" = \"500ms\"\n";
    let host = Host::builder().handler(Handler::guarded("h")).config(timeouts).start()?;
    fails_with(&host, &[], &[("query_deadline of handler h is 1s", "query_deadline = \"300ms\"")])?;
    host.add_handler(&host.handler("h")?.guard("query_deadline", "\"300ms\""))?;
    fails_with(&host, &[], &[])
}

#[test]
fn nothing_that_hangs_holds_it_up() -> Result<()> {
    let host = Host::with([Handler::guarded("h")])?;
    let start = |id: &str| -> Result<Sandbox> {
        host.ctr().start(&host.handler("h")?, id, &["sleep", "100000"])?;
        Sandbox::of(&host, id)
    };
    let (wedged, mute) = (start("wedged")?, start("mute")?);
    fails_with(&host, &[], &[])?;
    wedged.stop_sentry()?;
    let guard = mute.guard.as_ref().context("no guard")?;
    faults::stop(guard)?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    let stopped = format!("containerd {} is stopped", containerd.pid);
    let go_on = format!("kill -CONT {}", containerd.pid);
    let silent = format!("wedged: mute: guard {} stopped", guard.pid);
    let stuck =
        [(silent.as_str(), "runsc-guard reap mute"), ("wedged: wedged: sentry", "runsc-guard reap wedged")];
    fails_with(&host, &[], &[&[(stopped.as_str(), go_on.as_str())], &stuck[..]].concat())?;

    let healthy = host.handler("h")?;
    host.add_handler(&healthy.clone().runsc(hanging(&host)?))?;
    let hangs = [(stopped.as_str(), go_on.as_str()), ("did not return in time", "--version")];
    fails_with(&host, &[], &[&hangs, &stuck[..]].concat())?;
    host.add_handler(&healthy)?;

    containerd.signal(Signal::CONT)?;
    host.end_containerd(Signal::KILL)?;
    let config = host.path().join("containerd.toml");
    // With containerd its PATH is gone, too: what is found depends on this process' own.
    let fails = fails(&host, &["--containerd-config", &config.to_string_lossy()])?;
    for (words, remedy) in [&[("it has ended", "systemctl start containerd")], &stuck[..]].concat() {
        let is_told = fails.iter().any(|(what, told)| what.contains(words) && told.contains(remedy));
        ensure!(is_told, "{words:?} is not among {fails:#?}");
    }
    guard.signal(Signal::CONT)?;
    wedged.sentry.signal(Signal::CONT)?;
    host.start_containerd()?;
    eventually(SOON, "all is well again", || fails_with(&host, &[], &[]).ok())?;
    for id in ["wedged", "mute"] {
        host.ctr().remove(id)?;
    }
    Ok(())
}

/// containerd's own words about an unguarded pod that does not end.
#[test]
fn the_log_of_a_node_with_the_problem_tells() -> Result<()> {
    let host = Host::with([Handler::unguarded("h")])?;
    let cri = host.cri()?;
    let pod = cri.run_pod("h", "subject")?;
    let (log, later) = (host.path().join("containerd.log"), host.path().join("later.log"));
    let read = |logs: &[&Path]| {
        let options: Vec<String> =
            logs.iter().flat_map(|log| ["--logs".into(), log.display().to_string()]).collect();
        doctor(&host, &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let before = read(&[&log])?;
    ensure!(before.code() == Some(0), "{before:?}");
    let sandbox = Sandbox::of(&host, &pod.id)?;
    sandbox.stop_sentry()?;
    for _ in 0..2 {
        ensure!(cri.stop_pod(&pod, Duration::from_millis(2500)).is_err(), "a stopped sentry has ended");
    }
    let names_it = |told: &Outcome| told.stdout.contains(&pod.id);
    let once = eventually(SOON, "the log tells", || read(&[&log]).ok().filter(names_it))?;
    ensure!(
        once.code() == Some(0) && once.stdout.contains("of none twice"),
        "seconds apart are one try: {once:?}"
    );
    // The same words of a century later: nobody has to wait until half a minute is over.
    std::fs::write(&later, std::fs::read_to_string(&log)?.replace("time=\"20", "time=\"21"))?;
    let told = read(&[&log, &later])?;
    ensure!(told.code() == Some(1), "{told:?}");
    ensure!(told.stdout.contains("this node has the problem") && told.stdout.contains(&pod.id), "{told:?}");
    sandbox.sentry.signal(Signal::KILL)?;
    cri.end_pod(&pod)
}
