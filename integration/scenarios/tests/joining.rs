//! Coming and going: a new container of an id whose last one is just leaving, and a guard that does not answer
//! when a container wants to join it.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, SHORTLY, binary,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
};
use rustix::process::Signal;

#[test]
fn one_id_is_deleted_and_run_again_two_hundred_times() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let handler = host.handler("guarded")?;
    let ctr = host.ctr();
    for round in 0..200 {
        ctr.start(&handler, "subject", &["sleep", "1000"]).with_context(|| format!("round {round}"))?;
        ctr.remove("subject").with_context(|| format!("round {round}"))?;
    }
    assert_nothing_left(&host, &before, SHORTLY)
}

#[test]
fn joining_a_stopped_guard_fails_with_its_pid_and_state() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let before = Resources::of(&host);
    let cri = host.cri()?;
    let pod = cri.run_pod("guarded", "subject")?;
    let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
    let guard: Process = Sandbox::of(&host, &pod.id)?.guard.context("no guard")?;

    // containerd 2.4 needs no `start` for a member; every older one does.
    let bundle = host.path().join("joiner");
    std::fs::create_dir(&bundle)?;
    let config = host.bundle("k8s.io", &container.id).join("config.json");
    std::fs::copy(config, bundle.join("config.json"))?;

    faults::stop(&guard)?;
    let refused = binary::start(&host, "k8s.io", "joiner", &bundle, SHORTLY)?;
    println!("joining a stopped guard: {refused:?}");
    ensure!(!refused.timed_out() && !refused.success(), "{refused:?}");
    ensure!(refused.stderr.contains(&guard.pid.to_string()), "it does not name the pid: {refused:?}");

    guard.signal(Signal::CONT)?;
    let joined = binary::start(&host, "k8s.io", "joiner", &bundle, SHORTLY)?.ok()?;
    ensure!(joined.contains("unix://"), "no address: {joined:?}");
    binary::delete(&host, "k8s.io", "joiner", &bundle)?;
    let answer = cri.exec(&container, &["echo", "well"], SHORTLY)?;
    ensure!(answer.stdout == b"well\n", "{answer:?}");
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, SHORTLY)
}
