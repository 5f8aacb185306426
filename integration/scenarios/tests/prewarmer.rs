//! gVisor as its tarball lays it out runs a small program ahead of the sentry, which becomes it. Where that hangs there is
//! a process of a sandbox that is no sentry yet and that no file of runsc's names: it must end on time, with the guard alive
//! and dead, and nobody else.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, LATER, Neighbour, Parts, SOON, Versions, eventually,
    faults::{self, await_prewarmer},
    leaks::{Resources, assert_nothing_left},
    process::Process,
    promise::{DEADLINE, ESCALATION, MARGIN, QUERY},
    run,
};
use rustix::process::Signal;
use std::{process::Command, thread, time::Duration, time::Instant};

const ID: &str = "subject";
const SLEEP: [&str; 2] = ["sleep", "100000"];
/// What a healthy one says of itself.
const ROOT: [&str; 2] = ["--annotation", harness::ctr::SANDBOX];
/// What the guard answers, about where to look.
const SAID: &str = "whose sandbox is still in its prewarmer (pid ";
/// From the guard's death until containerd has forgotten the task.
const DELETE: Duration = Duration::from_secs(5);

/// A host where each sandbox of the handler hangs in its prewarmer, and whose neighbour does not.
fn host(handler: Handler, neighbour: Handler) -> Result<Host> {
    let newest = Versions::newest()?;
    let parts = Parts::of(Versions::named(&newest.containerd, &format!("{}-released", newest.gvisor))?)?;
    let host = Host::builder().parts(parts).handler(handler.clone()).handler(neighbour).start()?;
    let runsc = faults::stuck_prewarmer(&host, "stuck")?;
    host.add_handler(&handler.runsc(runsc))?;
    Ok(host)
}

fn guarded() -> Result<Host> {
    let handler = Handler::quick(ID, "2s").guard("create_deadline", "\"2s\"");
    host(handler, Handler::guarded("neighbour"))
}

fn unguarded() -> Result<Host> {
    host(Handler::unguarded(ID), Handler::unguarded("neighbour"))
}

#[test]
fn without_the_guard_it_hangs_for_ever() -> Result<()> {
    let host = unguarded()?;
    let ctr = host.ctr();
    let handler = host.handler(ID)?;
    let limit = QUERY + DEADLINE + ESCALATION + MARGIN;
    let stuck = thread::scope(|scope| {
        let run = scope.spawn(|| ctr.run_detached(&handler, &ROOT, ID, &SLEEP, limit));
        let stuck = await_prewarmer(&host, limit)?;
        let answer = run.join().map_err(|_| anyhow::anyhow!("ctr run panicked"))??;
        ensure!(answer.code().is_none() && answer.took >= limit, "Create returned: {answer:?}");
        anyhow::Ok(stuck)
    })?;
    let asked = ctr.force_delete_task(ID, limit);
    ensure!(stuck.is_alive(), "it has ended by itself: {asked:?}");
    Ok(())
}

#[test]
fn it_ends_on_time() -> Result<()> {
    let host = guarded()?;
    let neighbour = Neighbour::start(&host)?;
    let before = Resources::of(&host);
    let (ctr, handler) = (host.ctr(), host.handler(ID)?);
    let began = Instant::now();
    let answer = thread::scope(|scope| {
        let run = scope.spawn(|| ctr.run_detached(&handler, &ROOT, ID, &SLEEP, LATER));
        await_prewarmer(&host, SOON)?;
        run.join().map_err(|_| anyhow::anyhow!("ctr run panicked"))?
    })?;
    let took = began.elapsed();
    println!("stand-alone: {took:.1?}: {}", answer.stderr);
    ensure!(!answer.success() && answer.stderr.contains(SAID), "{answer:?}");
    ensure!(took <= QUERY + DEADLINE + ESCALATION, "late: {took:?}");
    ctr.delete_container(ID)?;
    assert_nothing_left(&host, &before, SOON)?;

    let began = Instant::now();
    let answer = host.cri()?.run_pod(ID, ID);
    let took = began.elapsed();
    println!("pod: {took:.1?}: {answer:?}");
    ensure!(answer.is_err_and(|error| format!("{error:#}").contains(SAID)), "not the guard's answer");
    ensure!(took <= QUERY + DEADLINE + ESCALATION, "late: {took:?}");
    assert_nothing_left(&host, &before, SOON)?;

    // The same id, with a prewarmer that does what it should.
    ctr.start(&host.handler("neighbour")?, ID, &SLEEP)?;
    ctr.remove(ID)?;
    assert_nothing_left(&host, &before, SOON)?;
    neighbour.assert_untouched(&host)
}

/// By SIGKILL; `alone` leaves the real shim alive, and so the `runsc create` above the prewarmer. Without that nothing says
/// whose it is but its own command line and the program that it runs.
fn guard_killed(host: &Host, alone: bool) -> Result<()> {
    let before = Resources::of(host);
    let (ctr, handler) = (host.ctr(), host.handler(ID)?);
    let killed = thread::scope(|scope| {
        scope.spawn(|| ctr.run_detached(&handler, &ROOT, ID, &SLEEP, LATER));
        let stuck = await_prewarmer(host, SOON)?;
        let guard = faults::guard(host, ID).context("no guard")?;
        if !alone {
            faults::stop(&guard)?;
            orphan(host, &stuck, &guard)?;
        }
        ensure!(stuck.is_alive(), "it did not hang");
        guard.signal(Signal::KILL)?;
        anyhow::Ok(Instant::now())
    })?;
    assert_nothing_left(host, &before, DELETE)?;
    println!("alone: {alone}: nothing left after {:.1?}", killed.elapsed());
    ctr.delete_container(ID)
}

/// Kills all that is between the prewarmer and its guard.
fn orphan(host: &Host, stuck: &Process, guard: &Process) -> Result<()> {
    let all = host.processes();
    let mut at = stuck.parent;
    let mut above = Vec::new();
    while let Some(process) = all.iter().find(|one| one.pid == at && one.pid != guard.pid) {
        at = process.parent;
        above.push(process);
    }
    ensure!(at == guard.pid && above.len() >= 2, "not below its guard: {above:?}");
    for process in above.iter().rev() {
        // runsc dies with the shim that has started it.
        let _ = process.signal(Signal::KILL);
    }
    above.iter().try_for_each(|process| {
        eventually(SOON, "dead", || {
            (!process.is_alive() || Process::state(process.pid) == Some('Z')).then_some(())
        })
    })
}

#[test]
fn a_dead_guard_leaves_nothing_of_it() -> Result<()> {
    let host = guarded()?;
    let neighbour = Neighbour::start(&host)?;
    for alone in [true, false] {
        guard_killed(&host, alone).with_context(|| format!("alone: {alone}"))?;
    }
    neighbour.assert_untouched(&host)
}

/// containerd removes the bundle of a Create that has failed while it runs `delete`, which may then find no config.json and,
/// since the real shim ends its `runsc create` with the guard, nobody who is in a cgroup either.
#[test]
fn a_dead_guard_leaves_nothing_of_it_without_a_bundle() -> Result<()> {
    let host = guarded()?;
    let neighbour = Neighbour::start(&host)?;
    let before = Resources::of(&host);
    let (ctr, handler) = (host.ctr(), host.handler(ID)?);
    let containerd = host.containerd()?;
    thread::scope(|scope| {
        scope.spawn(|| ctr.run_detached(&handler, &ROOT, ID, &SLEEP, LATER));
        let stuck = await_prewarmer(&host, SOON)?;
        let guard = faults::guard(&host, ID).context("no guard")?;
        faults::stop(&containerd)?;
        guard.signal(Signal::KILL)?;
        let _ = stuck.signal(Signal::KILL);
        stuck.wait_gone(SOON)?;
        std::fs::remove_file(host.bundle(ctr.namespace(), ID).join("config.json"))?;
        containerd.signal(Signal::CONT)
    })?;
    assert_nothing_left(&host, &before, DELETE)?;
    ctr.delete_container(ID)?;
    neighbour.assert_untouched(&host)
}

/// The operator ends what gVisor's own shim, dead by now, has left.
#[test]
fn an_orphan_is_reaped() -> Result<()> {
    let host = unguarded()?;
    let neighbour = Neighbour::start(&host)?;
    let (ctr, handler) = (host.ctr(), host.handler(ID)?);
    let stuck = thread::scope(|scope| {
        scope.spawn(|| ctr.run_detached(&handler, &ROOT, ID, &SLEEP, LATER));
        let stuck = await_prewarmer(&host, SOON)?;
        let runsc = Process::read(stuck.parent).context("no runsc create")?;
        let shim = Process::read(runsc.parent).context("no shim")?;
        shim.signal(Signal::KILL)?;
        eventually(SOON, "runsc create has gone with its shim", || (!runsc.is_alive()).then_some(()))?;
        anyhow::Ok(stuck)
    })?;
    ensure!(stuck.is_alive(), "it has ended by itself");
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    // Where an operator has runsc: its program is all that says whose this is.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", host.path().join("stuck").display()));
    command.args(["--namespace", host.tag(), "reap", ID, "--yes", "--report-dir"]);
    let outcome = run(command.arg(host.path().join("reports")), b"", 2 * SOON)?;
    println!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.success() && !stuck.is_alive(), "{outcome:?}");
    neighbour.assert_untouched(&host)
}
