//! After `reap` containerd's own commands work: whatever the real shim was in when its sandbox ended, whether containerd
//! still knows the task or has long forgotten it, and wherever its mounts are.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
    run,
};
use rustix::process::Signal;
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
};

const ID: &str = "subject";

fn host(handler: Handler) -> Result<Host> {
    Host::with([handler])
}

fn start(host: &Host) -> Result<Sandbox> {
    host.ctr().start(&host.handler("h")?, ID, &["sleep", "100000"])?;
    Sandbox::of(host, ID)
}

/// `runsc-guard`.
fn operator(host: &Host) -> Command {
    Command::new(host.parts().guard.with_file_name("runsc-guard"))
}

/// `runsc-guard reap`, of one of this host's own.
fn reap(host: &Host, namespace: &str, id: &str) -> Result<Outcome> {
    let mut command = operator(host);
    command.args(["--namespace", namespace, "reap", id, "--yes", "--report-dir"]);
    let outcome = run(command.arg(host.path().join("reports")), b"", 2 * SOON)?;
    println!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.success(), "{outcome:?}");
    Ok(outcome)
}

/// Where nothing can be written to: a pipe whose reader is gone (`2>&1 | head -n 0`), and a disk that is full.
fn unwritable() -> Result<[File; 2]> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ok([OwnedFd::from(writer).into(), OpenOptions::new().write(true).open("/dev/full")?])
}

fn started(command: &mut Command, output: &File) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?).spawn()?)
}

/// containerd's client deletes the task, or has nothing to delete any more; then the container.
fn remove(host: &Host) -> Result<()> {
    eventually(SOON, "containerd lets go of the task", || {
        let deleted = host.ctr().delete_task(ID, SOON).ok()?;
        (deleted.success() || deleted.stderr.contains("not found")).then_some(())
    })?;
    host.ctr().delete_container(ID)
}

/// What cannot be told is no reason to stop half way.
#[test]
fn a_reap_that_nobody_reads_goes_on_to_its_end() -> Result<()> {
    for (handler, output) in [Handler::unguarded("h"), Handler::guarded("h")].into_iter().zip(unwritable()?) {
        let host = host(handler)?;
        let before = Resources::of(&host);
        let sandbox = start(&host)?;
        sandbox.stop_sentry()?;
        let mut command = operator(&host);
        command.args(["--namespace", host.tag(), "reap", ID, "nobody", "--yes", "--report-dir"]);
        let mut reap = started(command.arg(host.path().join("reports")), &output)?;
        let status = eventually(2 * SOON, "the reap ends", || reap.try_wait().ok()?)?;
        // One of the two is not there.
        ensure!(status.code() == Some(1), "{status:?}");
        ensure!(!sandbox.sentry.is_alive(), "it lives on");
        remove(&host)?;
        assert_nothing_left(&host, &before, SOON)?;
    }
    Ok(())
}

#[test]
fn no_command_takes_it_amiss_that_nobody_reads() -> Result<()> {
    let host = host(Handler::guarded("h"))?;
    let sandbox = start(&host)?;
    for args in [
        "ls",
        "ls -o json",
        "show subject",
        "show subject -o json",
        "reports",
        "doctor",
        "metrics",
        "check",
        "reap subject --dry-run",
        "install --dry-run",
        "completions bash",
        "configuration toml",
        "no-such-command",
    ] {
        for output in unwritable()? {
            let mut command = operator(&host);
            command.args(["--namespace", host.tag()]).args(args.split(' '));
            let mut child = started(&mut command, &output)?;
            let status = eventually(2 * SOON, args, || child.try_wait().ok()?)?;
            ensure!(status.code().is_some_and(|code| code < 100), "{args}: {status:?}");
        }
    }
    sandbox.sentry.assert_spared()?;
    host.ctr().remove(ID)
}

/// gVisor deletes no container that it believes paused, and it goes on believing so when the sandbox is dead.
#[test]
fn what_was_paused_can_be_deleted_after_a_reap() -> Result<()> {
    let host = host(Handler::unguarded("h"))?;
    let before = Resources::of(&host);
    let sandbox = start(&host)?;
    faults::pause(&host, &host.ctr(), ID)?;
    reap(&host, host.tag(), ID)?;
    ensure!(!sandbox.sentry.is_alive(), "it lives on");
    host.ctr().delete_task(ID, SOON)?.ok()?;
    host.ctr().delete_container(ID)?;
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn a_pod_whose_root_was_paused_can_be_removed_after_a_reap() -> Result<()> {
    for handler in [Handler::unguarded("h"), Handler::guarded("h")] {
        let host = host(handler)?;
        let cri = host.cri()?;
        let before = Resources::of(&host);
        let pod = cri.run_pod("h", ID)?;
        cri.run_container(&pod, "one", &["sleep", "100000"])?;
        faults::pause(&host, &host.ctr().in_namespace("k8s.io"), &pod.id)?;
        reap(&host, "k8s.io", &pod.id)?;
        eventually(SOON, "the pod stops", || cri.stop_pod(&pod, SOON).ok())?;
        cri.remove_pod(&pod, SOON)?;
        assert_nothing_left(&host, &before, SOON)?;
    }
    Ok(())
}

/// The real shim waits for a `runsc kill` that never returns, and holds its lock meanwhile; or it is dead.
#[test]
fn a_shim_that_cannot_tell_is_ended_too() -> Result<()> {
    for dead in [false, true] {
        let host = host(Handler::unguarded("h"))?;
        let runsc = faults::hanging_runsc(&host, "hanging", "kill", "")?;
        host.add_handler(&Handler::unguarded("h").runsc(runsc))?;
        let before = Resources::of(&host);
        let sandbox = start(&host)?;
        sandbox.stop_sentry()?;
        if dead {
            faults::stop(&host.containerd()?)?;
            sandbox.real_shim.signal(Signal::KILL)?;
            sandbox.real_shim.wait_gone(SOON)?;
        }
        reap(&host, host.tag(), ID)?;
        ensure!(!sandbox.real_shim.is_alive() && !sandbox.sentry.is_alive(), "something lives on");
        host.containerd()?.signal(Signal::CONT)?;
        remove(&host)?;
        assert_nothing_left(&host, &before, SOON)?;
    }
    Ok(())
}

/// Whoever asked for a container gives up while it is created: containerd forgets it, and its shim goes on.
#[test]
fn what_containerd_has_forgotten_is_released_by_the_reap() -> Result<()> {
    let host = host(Handler::unguarded("h"))?;
    let mut before = Resources::of(&host);
    // containerd's own leftover, now and then: it renames the bundle before it removes it, and a file that is made there
    // meanwhile keeps the folder.
    before.bundles.insert(host.bundle(host.tag(), &format!(".{ID}")));
    let ctr = host.ctr();
    let args = ctr.bare_run_args(&host.handler("h")?, &["--detach"], ID, &["sleep", "100000"]);
    let mut client = ctr.command(&args).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let sandbox = Sandbox::await_of(&host, ID)?;
    // It hangs in Create: gVisor waits for the end of an output that the sandbox holds. And what its shim's `delete` runs
    // then hangs on the sentry.
    sandbox.stop_sentry()?;
    client.kill()?;
    client.wait()?;
    let bundle = host.bundle(host.tag(), ID);
    eventually(SOON, "containerd forgets it", || (!bundle.exists()).then_some(()))?;
    ensure!(sandbox.real_shim.is_alive() && sandbox.sentry.is_alive(), "nothing is left to reap");
    let reaped = reap(&host, host.tag(), ID)?;
    ensure!(!sandbox.real_shim.is_alive(), "the shim that nobody knows lives on");
    ensure!(!reaped.stdout.contains("collects"), "nobody does: {}", reaped.stdout);
    host.ctr().delete_container(ID)?;
    assert_nothing_left(&host, &before, SOON)
}

/// What is mounted below the bundle, as a process sees it.
fn mounts(of: &Process, host: &Host) -> Result<Vec<String>> {
    let bundle = host.bundle(host.tag(), ID);
    let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", of.pid))?;
    let bundle = bundle.to_str().context("no path")?;
    Ok(table.lines().filter(|line| line.contains(bundle)).map(str::to_owned).collect())
}

/// containerd in a mount namespace of its own: a `reap` from outside unmounts there, whether a shim is left that stands
/// there, or not.
#[test]
fn mounts_are_released_where_containerd_has_them() -> Result<()> {
    for (handler, with_shim) in
        [(Handler::unguarded("h"), true), (Handler::unguarded("h"), false), (Handler::guarded("h"), false)]
    {
        // A file over /etc, which nobody else sees.
        let host = Host::builder().handler(handler).etc("of-this-host", "x").start()?;
        let before = Resources::of(&host);
        let sandbox = start(&host)?;
        let containerd = host.containerd()?;
        ensure!(!mounts(&containerd, &host)?.is_empty(), "nothing is mounted");
        ensure!(mounts(&Process::me()?, &host)?.is_empty(), "its mounts are here");
        faults::stop(&containerd)?;
        sandbox.stop_all_but_guard()?;
        if !with_shim {
            for process in sandbox.guard.iter().chain([&sandbox.real_shim]) {
                process.signal(Signal::KILL)?;
                process.wait_gone(SOON)?;
            }
        }
        reap(&host, host.tag(), ID)?;
        let left = mounts(&containerd, &host)?;
        containerd.signal(Signal::CONT)?;
        ensure!(left.is_empty(), "left where containerd is: {left:#?}");
        remove(&host)?;
        assert_nothing_left(&host, &before, SOON)?;
    }
    Ok(())
}

/// Another containerd of this node has a container of the same namespace and id: its shim is not this sandbox's. Neither
/// that it hangs nor what is below it is any matter of a `reap`.
#[test]
fn a_shim_of_another_containerd_is_let_alone() -> Result<()> {
    let host = host(Handler::unguarded("h"))?;
    let before = Resources::of(&host);
    let sandbox = start(&host)?;
    let bundle = tempfile::tempdir()?;
    let mut other = Command::new("sh")
        .arg0("containerd-shim-runc-v2")
        .args(["-c", "sleep 100000 & wait", "sh", "-namespace", host.tag(), "-id", ID])
        .args(["-address", "/run/other/containerd.sock"])
        .current_dir(bundle.path())
        .spawn()?;
    let pid = other.id().cast_signed();
    let both = eventually(SOON, "the other shim has a child", || {
        let both = Process::with_descendants(|process| process.pid == pid);
        (both.len() == 2).then_some(both)
    })?;
    both.iter().try_for_each(faults::stop)?;
    let operator = host.parts().guard.with_file_name("runsc-guard");
    let seen = run(Command::new(operator).args(["--namespace", host.tag(), "ls"]), b"", SOON)?;
    let reaped = reap(&host, host.tag(), ID)?;
    let spared = both.iter().try_for_each(Process::assert_spared);
    both.iter().filter(|one| one.is_alive()).try_for_each(|one| one.signal(Signal::KILL))?;
    other.wait()?;
    spared?;
    ensure!(seen.stdout.contains("running"), "it is called something else: {}", seen.stdout);
    ensure!(!reaped.stdout.contains(&pid.to_string()), "the plan names it: {}", reaped.stdout);
    ensure!(!sandbox.sentry.is_alive(), "it lives on");
    remove(&host)?;
    assert_nothing_left(&host, &before, SOON)
}

/// While the operator thinks about the plan, the sandbox ends and another one gets its id: that one was not meant.
#[test]
fn what_began_after_the_look_is_let_alone() -> Result<()> {
    let host = host(Handler::guarded("h"))?;
    let before = Resources::of(&host);
    start(&host)?;
    let operator = host.parts().guard.with_file_name("runsc-guard").display().to_string();
    let reports = host.path().join("reports").display().to_string();
    let line = format!("{operator} --namespace {} reap {ID} --report-dir {reports}", host.tag());
    // It asks only at a terminal.
    let mut asking = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut said, mut answer) = (asking.stdout.take().context("no output")?, asking.stdin.take());
    let mut text = String::new();
    while !text.contains("[y/N]") {
        let mut byte = [0];
        said.read_exact(&mut byte).context(text.clone())?;
        text.push(byte[0].into());
    }
    host.ctr().remove(ID)?;
    let newborn = start(&host)?;
    answer.as_mut().context("no input")?.write_all(b"y\n")?;
    said.read_to_string(&mut text)?;
    println!("{text}");
    ensure!(!asking.wait()?.success(), "it says that it has ended something");
    newborn.sentry.assert_spared()?;
    ensure!(text.contains("look again"), "it does not say why");
    host.ctr().remove(ID)?;
    assert_nothing_left(&host, &before, SOON)
}
