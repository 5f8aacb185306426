//! The real shim dies under the guard: its containers' end is reported once (rule 3), and nothing is left.

use anyhow::{Context as _, Result, ensure};
use harness::{
    EventLog, Host, SHORTLY, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    promise::ESCALATION,
    promised,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Within which the end of a real shim is known, whoever asks: the steps of an escalation.
const KNOWN: Duration = ESCALATION;
/// One that ends by SIGTERM may have been told so by a node that goes down: so long a sign of that is awaited.
const SIGN: Duration = Duration::from_secs(2);
/// containerd's CRI handles exits one after the other, in its own time.
const LOOKS: Duration = Duration::from_secs(1);

fn the_real_shim_dies(signal: Signal, within: Duration) -> Result<()> {
    let host = Host::guarded("2s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let events = EventLog::start(&ctr)?;
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let socket = host.shim_socket(ctr.namespace(), "subject")?;
    let real_shim = Sandbox::of(&host, "subject")?.real_shim;
    real_shim.signal(signal)?;
    real_shim.wait_gone(SHORTLY)?;
    let known = Instant::now();
    promised(within, "the exit is published", || (events.exits("subject", "subject") > 0).then_some(()))?;
    promised(within.saturating_sub(known.elapsed()), "containerd sees the task stopped", || {
        let tasks = ctr.tasks(SHORTLY).ok()?;
        ensure_socket(&socket).ok()?;
        (tasks.first()?.status == "STOPPED").then_some(())
    })?;
    println!("{signal:?}: known after {:?}", known.elapsed());
    ensure_socket(&socket)?;
    ctr.delete_task("subject", SHORTLY)?.ok()?;
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, SHORTLY)?;
    let exits = events.exits("subject", "subject");
    ensure!(exits == 1, "{exits} exits were published: {:?}", events.of_task("subject"));
    Ok(())
}

fn ensure_socket(socket: &std::path::Path) -> Result<()> {
    std::os::unix::net::UnixStream::connect(socket)
        .map(drop)
        .with_context(|| format!("the guard's socket {}", socket.display()))
}

#[test]
fn a_real_shim_ended_by_sigkill_is_reported_once() -> Result<()> {
    the_real_shim_dies(Signal::KILL, KNOWN)
}

#[test]
fn a_real_shim_ended_by_sigterm_is_reported_once() -> Result<()> {
    the_real_shim_dies(Signal::TERM, SIGN + KNOWN)
}

#[test]
fn a_pod_whose_real_shim_is_killed_ends_for_the_kubelet() -> Result<()> {
    let host = Host::guarded("2s")?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = cri.run_pod("guarded", "subject")?;
    for name in ["one", "two"] {
        cri.run_container(&pod, name, &["sleep", "1000"])?;
    }
    Sandbox::of(&host, &pod.id)?.real_shim.signal(Signal::KILL)?;
    promised(KNOWN + LOOKS, "pod not ready, both containers exited", || {
        let exited = cri.containers(SHORTLY).ok()?.iter().all(|(_, state)| *state == 2);
        let not_ready = cri.pods(SHORTLY).ok()?.iter().all(|(_, state)| *state == 1);
        (exited && not_ready).then_some(())
    })?;
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, SHORTLY)
}

/// Operators send these to shims by habit; SIGUSR1 asks a shim for its goroutines.
#[test]
fn a_guard_outlives_what_operators_signal_and_passes_usr1_on() -> Result<()> {
    let host = Host::guarded("2s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let guard = Sandbox::of(&host, "subject")?.guard.context("no guard")?;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR2, Signal::USR1] {
        guard.signal(signal)?;
    }
    eventually(SHORTLY, "the real shim's goroutines are in containerd's log", || {
        host.log().contains("BEGIN goroutine stack dump").then_some(())
    })?;
    ensure!(guard.is_alive(), "a signal ended the guard");
    ctr.exec("subject", "alive", &["true"], b"", SHORTLY)?.ok()?;
    ctr.remove("subject")?;
    assert_nothing_left(&host, &before, SHORTLY)
}
