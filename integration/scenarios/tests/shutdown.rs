//! A node that goes down (rule 10): its pods end at once, the service manager waits for no guard, and no hang is
//! reported that is none. SIGTERM on a running node is something else.

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api;
use harness::{
    Handler, Host, Pod, SOON, TaskClient, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    patience,
    process::Process,
};
use rustix::process::Signal;
use std::{
    fs,
    time::{Duration, Instant},
};

/// What a guard may take of a node's time.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Everything of the host but containerd.
fn all(host: &Host) -> Vec<Process> {
    let containerd = host.containerd().ok().map(|containerd| containerd.pid);
    let mut all = host.processes();
    all.retain(|process| Some(process.pid) != containerd && process.is_alive());
    all
}

/// All of these are gone in time.
fn gone_at_once(processes: &[Process], since: Instant) -> Result<()> {
    for process in processes {
        process.gone_within(AT_ONCE.saturating_sub(since.elapsed()))?;
    }
    println!("{} processes were gone after {:?}", processes.len(), since.elapsed());
    Ok(())
}

fn reports(host: &Host) -> Vec<String> {
    let files = fs::read_dir(host.path().join("reports")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
}

fn pods(host: &Host, names: &[&str]) -> Result<Vec<Pod>> {
    let cri = host.cri()?;
    names
        .iter()
        .map(|name| {
            let pod = cri.run_pod("guarded", name)?;
            cri.run_container(&pod, "app", &["sleep", "1000"])?;
            Ok(pod)
        })
        .collect()
}

/// What is left is containerd's own, and it gets rid of that when it is there again.
fn comes_back(host: &Host, pods: &[Pod], before: &Resources) -> Result<()> {
    let left = Resources::of(host).since(before);
    let left = Resources { mounts: Default::default(), bundles: Default::default(), ..left };
    ensure!(left.is_empty(), "left behind:\n{left}");
    host.start_containerd()?;
    let cri = host.cri()?;
    for pod in pods {
        cri.end_pod(pod)?;
    }
    assert_nothing_left(host, before, SOON)
}

#[test]
fn a_node_that_goes_down_waits_for_no_guard() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let pods = pods(&host, &["one", "two", "three", "four", "frozen", "hung"])?;
    Sandbox::of(&host, &pods[4].id)?.freeze()?;
    // The real shim waits for this one's runsc.
    faults::stop(&Sandbox::of(&host, &pods[5].id)?.sentry)?;
    host.end_containerd(Signal::TERM)?;
    let all = all(&host);
    let since = Instant::now();
    faults::terminate(&all);
    gone_at_once(&all, since)?;
    ensure!(reports(&host).is_empty(), "{:?}", reports(&host));
    comes_back(&host, &pods, &before)
}

/// Where no service manager stops containerd first.
#[test]
fn containerd_that_is_told_in_the_same_moment_is_waited_for() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let pods = pods(&host, &["subject"])?;
    let mut told = all(&host);
    told.push(host.containerd()?);
    faults::terminate(&told);
    host.containerd().ok().map_or(Ok(()), |containerd| containerd.wait_gone(SOON))?;
    gone_at_once(&told, Instant::now())?;
    host.stop_containerd();
    ensure!(reports(&host).is_empty(), "{:?}", reports(&host));
    comes_back(&host, &pods, &before)
}

/// A sandbox that hangs is ended while containerd goes. Its guard has events left, and keeps them for a containerd that
/// comes back; none does.
#[test]
fn events_that_nobody_will_hear_hold_up_no_node() -> Result<()> {
    let host = Host::guarded("1s")?;
    let (ctr, id, before) = (host.ctr(), "subject".to_owned(), Resources::of(&host));
    ctr.start(&host.handler("guarded")?, &id, &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, &id)?;
    let guard = sandbox.guard.clone().context("no guard")?;
    let client = TaskClient::connect(&host, ctr.namespace(), &id)?;
    sandbox.stop_sentry()?;
    host.end_containerd(Signal::TERM)?;
    let kill = api::KillRequest { id: id.clone(), signal: 9, ..Default::default() };
    let wait = api::WaitRequest { id: id.clone(), ..Default::default() };
    let delete = api::DeleteRequest { id: id.clone(), ..Default::default() };
    client.call::<_, api::Empty>("Kill", &kill, SOON)?;
    client.call::<_, api::WaitResponse>("Wait", &wait, SOON)?;
    client.call::<_, api::DeleteResponse>("Delete", &delete, SOON)?;
    let shutdown = api::ShutdownRequest { id: id.clone(), ..Default::default() };
    client.call::<_, api::Empty>("Shutdown", &shutdown, SOON)?;
    eventually(SOON, "its folder has gone", || {
        Resources::of(&host).since(&before).guard_files.is_empty().then_some(())
    })?;
    ensure!(guard.is_alive(), "it does not keep its events");
    let since = Instant::now();
    guard.signal(Signal::TERM)?;
    gone_at_once(&[guard], since)?;
    host.start_containerd()?;
    eventually(SOON, "the container can be deleted", || ctr.delete_container(&id).ok())?;
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn real_shims_that_alone_are_told_without_containerd_go_quietly() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let pods = pods(&host, &["subject"])?;
    let real_shim = Sandbox::of(&host, &pods[0].id)?.real_shim;
    host.end_containerd(Signal::KILL)?;
    let all = all(&host);
    real_shim.signal(Signal::TERM)?;
    real_shim.wait_gone(SOON)?;
    gone_at_once(&all, Instant::now())?;
    ensure!(reports(&host).is_empty(), "{:?}", reports(&host));
    comes_back(&host, &pods, &before)
}

/// A node agent's `pkill containerd-shim`: the pod ends, since nothing serves it any more, and is told apart from a hang.
#[test]
fn shims_that_are_told_on_a_running_node_are_missed() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let pods = pods(&host, &["subject"])?;
    let Sandbox { guard, real_shim, .. } = Sandbox::of(&host, &pods[0].id)?;
    let guard = guard.context("no guard")?;
    faults::terminate(&[guard.clone(), real_shim]);
    let cri = host.cri()?;
    eventually(SOON, "the pod has ended", || {
        let not_ready = cri.pods(SOON).ok()?.iter().all(|(_, state)| *state == 1);
        not_ready.then_some(())
    })?;
    let report = eventually(SOON, "a report", || reports(&host).into_iter().next())?;
    ensure!(report.contains("the real shim is dead") && report.contains("status 0"), "{report}");
    cri.end_pod(&pods[0])?;
    ensure!(reports(&host).len() == 1, "{:?}", reports(&host));
    assert_nothing_left(&host, &before, SOON)
}

/// Stopped is not gone, and neither is one that comes back later.
#[test]
fn a_containerd_that_hangs_is_not_gone() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let pods = pods(&host, &["subject"])?;
    let guard = Sandbox::of(&host, &pods[0].id)?.guard.context("no guard")?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    guard.signal(Signal::TERM)?;
    ensure!(guard.gone_within(AT_ONCE).is_err(), "SIGTERM alone has ended the guard");
    containerd.signal(Signal::CONT)?;
    ensure!(guard.is_alive() && reports(&host).is_empty(), "{:?}", reports(&host));
    host.cri()?.end_pod(&pods[0])?;
    assert_nothing_left(&host, &before, patience(SOON))
}
