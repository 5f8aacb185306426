//! Stats that the guard answers from the sentry are those that gVisor's shim would have sent, field by field: at work, in a
//! pod of several, after a restart, while paused. [`doubted`]: a sentry that cannot be believed is not.
//!
//! `RUNSC_GUARD_COMPARISONS` is how many comparisons each container has to hold, for a long run.

use anyhow::{Result, ensure};
use harness::{
    Handler, Host, LATER, Parts, Pod, SOON, Versions, faults,
    leaks::{Resources, assert_nothing_left},
    usage::{BothWays, await_direct},
};

mod doubted;

/// What a guard says when it has given the sentry up.
const REFUTED: &str = "Stats of this sandbox come from gVisor's shim from now on";
/// Forks, and fills and frees pages.
const BUSY: [&str; 3] = ["sh", "-c", "while :; do ls -l /bin /proc > /tmp/x; done"];

/// Comparisons of one container; each is three answers, one of them of a process of runsc.
fn comparisons() -> usize {
    std::env::var("RUNSC_GUARD_COMPARISONS").ok().and_then(|count| count.parse().ok()).unwrap_or(10)
}

/// A container by itself and a pod of several, one after the other, on this gVisor.
fn holds_on(gvisor: &str) -> Result<()> {
    let parts = Parts::of(Versions::named(&Versions::newest()?.containerd, gvisor)?)?;
    let host = Host::builder().parts(parts).handler(Handler::guarded("guarded")).start()?;
    let before = Resources::of(&host);
    alone(&host)?;
    pod(&host, &host.cri()?.run_pod("guarded", "pod")?)?;
    ensure!(!host.log().contains(REFUTED), "{}", host.log());
    assert_nothing_left(&host, &before, SOON)
}

fn alone(host: &Host) -> Result<()> {
    let ctr = host.ctr();
    ctr.start(&host.handler("guarded")?, "alone", &BUSY)?;
    await_direct(host, ctr.namespace(), "alone", "alone")?;
    let both = BothWays::to(host, ctr.namespace(), "alone")?;
    report("at work", both.hold(comparisons())?);
    faults::pause(host, &ctr, "alone")?;
    report("paused", both.hold(comparisons())?);
    faults::resume(host, &ctr, "alone")?;
    ctr.remove("alone")
}

fn pod(host: &Host, pod: &Pod) -> Result<()> {
    let (cri, k8s) = (host.cri()?, "k8s.io");
    let busy = cri.run_container(pod, "busy", &BUSY)?;
    let idle = cri.run_container(pod, "idle", &["sleep", "100000"])?;
    for (name, id) in [("pause", &pod.id), ("busy", &busy.id), ("idle", &idle.id)] {
        await_direct(host, k8s, &pod.id, id)?;
        report(name, BothWays::to(host, k8s, id)?.hold(comparisons())?);
    }
    cri.stop_container(&busy, 0, LATER)?;
    cri.remove_container(&busy, LATER)?;
    let again = cri.create_container(pod, "busy", 1, &BUSY)?;
    cri.start_container(&again)?;
    await_direct(host, k8s, &pod.id, &again.id)?;
    for (name, id) in [("restarted", &again.id), ("beside it", &idle.id)] {
        report(name, BothWays::to(host, k8s, id)?.hold(comparisons())?);
    }
    cri.end_pod(pod)
}

fn report(what: &str, idle: usize) {
    println!("{what}: {} comparisons held, {idle} looks showed nothing", comparisons());
}

#[test]
fn gvisor_2026_09() -> Result<()> {
    holds_on("2026-09")
}

#[test]
fn gvisor_2026_09_as_released() -> Result<()> {
    holds_on("2026-09-released")
}

#[test]
#[ignore = "its gVisor is no part of hack/stack --tests: for a long run"]
fn gvisor_2026_04() -> Result<()> {
    holds_on("2026-04")
}

/// One real shim for each container.
#[test]
fn gvisor_2025_05() -> Result<()> {
    holds_on("2025-05")
}

/// The shim sends containerd's second message then; and on a host of version 1 runsc, which takes the name for a path with
/// colons, goes by the sentry's word for the processor time.
#[test]
fn with_systemd_cgroup() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded").runsc_flag("systemd-cgroup", "true")])?;
    let ctr = host.ctr();
    let cgroup = format!("{}.slice:ctr:alone", host.tag());
    let flags = ["--annotation", "io.kubernetes.cri.container-type=sandbox", "--cgroup", &cgroup];
    ctr.run_detached(&host.handler("guarded")?, &flags, "alone", &BUSY, LATER)?.ok()?;
    await_direct(&host, ctr.namespace(), "alone", "alone")?;
    report("at work", BothWays::to(&host, ctr.namespace(), "alone")?.hold(comparisons())?);
    ctr.remove("alone")?;
    ensure!(!host.log().contains(REFUTED), "{}", host.log());
    assert_nothing_left(&host, &Resources::default(), SOON)
}

/// The same of a pod's containers, where it is systemd that makes their cgroups.
#[test]
#[ignore = "needs systemd: hack/node/boot runs it"]
fn a_pod_with_systemd_cgroup() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded").runsc_flag("systemd-cgroup", "true")])?;
    pod(&host, &host.cri()?.run_pod_in_slice("guarded", "pod")?)?;
    ensure!(!host.log().contains(REFUTED), "{}", host.log());
    assert_nothing_left(&host, &Resources::default(), SOON)
}
