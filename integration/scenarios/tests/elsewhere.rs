//! runsc works elsewhere than `root` at the top of its configuration says: `[runsc_config]` has a `root` of its own,
//! which gVisor lets win, or a container has an annotation that says so. Or all of it is on mounts that only containerd
//! and its shims see.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, Parts, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    run,
};
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// More than the watched time, beside three questions that nobody answers.
const LATE: Duration = SOON.saturating_mul(2);
/// More than `kill_deadline`, and than three questions that nobody answers in the wrong place.
const WATCHED: Duration = Duration::from_secs(8);

/// What runsc has there but for what all sandboxes share.
fn files(root: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(root)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name != "null-netns").collect())
}

#[test]
fn the_guard_looks_where_runsc_works() -> Result<()> {
    let handler = Handler::quick("guarded", "4s").guard("hard_limit", "\"0s\"");
    let host = Host::with([handler.clone()])?;
    let root = host.path().join("elsewhere");
    host.add_handler(&handler.runsc_flag("root", root.to_str().context("a path that is no text")?))?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pod = cri.run_pod("guarded", "elsewhere")?;
    let sibling = cri.run_container(&pod, "sibling", &["sleep", "100000"])?;
    let member = cri.run_container(&pod, "member", &["sh", "-c", "while :; do :; done"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    ensure!(!files(&root)?.is_empty(), "runsc does not work in {}", root.display());

    // The sentry answers, but its guests' processes do not run, and so do not die.
    let stubs = sandbox.stubs();
    stubs.iter().try_for_each(faults::stop)?;
    host.ctr().in_namespace("k8s.io").kill(&member.id, "SIGKILL", LATE)?;
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        ensure!(sandbox.sentry.is_alive(), "the sandbox was ended after {:?}", began.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    stubs.iter().filter(|stub| stub.is_alive()).try_for_each(|stub| stub.signal(Signal::CONT))?;
    eventually(LATE, "the sibling takes an exec", || {
        cri.exec(&sibling, &["true"], LATE).is_ok_and(|done| done.exit_code == 0).then_some(())
    })?;

    // And a forced end leaves nothing there.
    sandbox.stop_sentry()?;
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, LATE)?;
    let left = files(&root)?;
    ensure!(left.is_empty(), "left in {}: {left:?}", root.display());
    ensure!(!host.log().contains("cannot be asked"), "the sentry was asked in the wrong place");
    Ok(())
}

/// With `allow-flag-override` gVisor creates such a container where its annotation says and never finds it again. The
/// guard starts none, and leaves nothing.
#[test]
fn a_container_that_says_where_runsc_works_is_refused() -> Result<()> {
    let handler = Handler::guarded("guarded").runsc_flag("allow-flag-override", "true");
    let unguarded = Handler::unguarded("unguarded").runsc_flag("allow-flag-override", "true");
    let host = Host::builder().handler(handler).handler(unguarded).start()?;
    let (ctr, before, elsewhere) = (host.ctr(), Resources::of(&host), host.path().join("elsewhere"));
    let annotation = format!("dev.gvisor.flag.root={}", elsewhere.display());
    let flags = ["--annotation", "io.kubernetes.cri.container-type=sandbox", "--annotation", &annotation];
    let start = |handler: &str| {
        ctr.run_detached(&host.handler(handler)?, &flags, "subject", &["sleep", "1000"], LATE)
    };
    let refused = start("guarded")?;
    println!("{}", refused.stderr);
    ensure!(!refused.success() && refused.stderr.contains("dev.gvisor.flag.root = "), "{refused:?}");
    ensure!(!elsewhere.exists(), "{:?} were made", files(&elsewhere)?);
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, LATE)?;

    // Another flag is the container's to set, where that key lets it.
    let flags = ["--annotation", "io.kubernetes.cri.container-type=sandbox"];
    let other = [&flags[..], &["--annotation", "dev.gvisor.flag.debug=true"]].concat();
    let started = ctr.run_detached(&host.handler("guarded")?, &other, "subject", &["sleep", "1000"], LATE)?;
    started.ok()?;
    ctr.remove("subject")?;
    assert_nothing_left(&host, &before, LATE)?;

    let unguarded = start("unguarded")?;
    println!("unguarded: {}", unguarded.stderr);
    ensure!(!unguarded.success() && !files(&elsewhere)?.is_empty(), "gVisor finds it now: {unguarded:?}");
    Ok(())
}

fn operator(host: &Host, args: &[&str]) -> Result<Outcome> {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    let outcome = run(command.args(["--namespace", host.tag()]).args(args), b"", LATE)?;
    println!("{args:?}: {:?}\n{}{}", outcome.code(), outcome.stdout, outcome.stderr);
    Ok(outcome)
}

/// Guards' folders are on a mount of containerd's own. From outside that is said, with the place to look from; from there
/// all of it is seen, and can be ended.
#[test]
fn what_only_containerd_sees_is_said_to_be_unseen() -> Result<()> {
    let (pinned, folder) = (Parts::pinned()?, tempfile::tempdir()?);
    let containerd = folder.path().join("containerd");
    let own = "mkdir -p /run/runsc-guard && mount -t tmpfs none /run/runsc-guard";
    let real = pinned.containerd.display();
    let script = format!("#!/bin/sh\nexec unshare --mount sh -c '{own} && exec {real} \"$@\"' sh \"$@\"\n");
    harness::write_script(&containerd, &script)?;
    let parts = Parts { containerd, ..pinned };
    let host = Host::builder().parts(parts).handler(Handler::guarded("guarded")).start()?;
    let (ctr, before) = (host.ctr(), Resources::of(&host));
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let guard = sandbox.guard.as_ref().context("no guard")?.pid.to_string();
    let address = host.socket().display().to_string();
    for args in [&["ls"][..], &["show", "subject"], &["doctor", "--address", &address]] {
        let told = operator(&host, args)?;
        let said = format!("{}{}", told.stdout, told.stderr);
        ensure!(said.contains("not seen from here") && said.contains(&guard), "{args:?} says nothing of it");
    }
    let host_of = format!("--host={guard}");
    let seen = operator(&host, &[&host_of, "ls", "-o", "wide"])?;
    ensure!(seen.stdout.contains("running") && seen.stdout.contains(&guard), "{seen:?}");
    ensure!(!seen.stderr.contains("not seen"), "{seen:?}");
    let reports = host.path().join("reports").display().to_string();
    let reaped = operator(&host, &[&host_of, "reap", "subject", "--yes", "--report-dir", &reports])?;
    ensure!(reaped.success() && !sandbox.sentry.is_alive(), "{reaped:?}");
    let _ = ctr.force_delete_task("subject", LATE)?;
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, LATE)
}
