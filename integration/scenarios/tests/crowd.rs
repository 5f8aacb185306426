//! Many wedged sandboxes on one node: containerd's own view stays quick, and nothing piles up.

use anyhow::{Result, ensure};
use harness::{
    Handler, Host, Pod, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
};
use std::{
    thread,
    time::{Duration, Instant},
};

const CROWD: usize = 50;

/// All of one length: runsc takes a prefix for the id where no container has exactly that one.
fn id(number: usize) -> String {
    format!("crowd-{number:02}")
}

/// Starts `count` containers, four at a time, and stops each sentry.
fn wedge(host: &Host, handler: &Handler, count: usize) -> Result<Vec<Sandbox>> {
    let start = |lane: usize| {
        (lane..count)
            .step_by(4)
            .map(|number| {
                let id = id(number);
                host.ctr().start(handler, &id, &["sleep", "1000"])?;
                Sandbox::of(host, &id)
            })
            .collect::<Result<Vec<_>>>()
    };
    let sandboxes = thread::scope(|scope| {
        let lanes: Vec<_> = (0..4).map(|lane| scope.spawn(move || start(lane))).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?
    .concat();
    for sandbox in &sandboxes {
        sandbox.stop_sentry()?;
    }
    Ok(sandboxes)
}

fn threads(sandboxes: &[Sandbox]) -> u64 {
    let count = |sandbox: &Sandbox| sandbox.real_shim.status_number("Threads").unwrap_or_default();
    sandboxes.iter().map(count).sum()
}

#[test]
fn three_wedged_sandboxes_make_the_unguarded_list_slow() -> Result<()> {
    let host = Host::with([Handler::unguarded("crowd")])?;
    wedge(&host, &host.handler("crowd")?, 3)?;
    let began = Instant::now();
    let listed = host.ctr().tasks(SOON)?;
    let took = began.elapsed();
    println!("unguarded: 3 wedged: ctr task ls takes {took:?} and shows {} of them", listed.len());
    ensure!(took > Duration::from_secs(2), "it is not slow: {took:?}");
    Ok(())
}

#[test]
fn fifty_wedged_sandboxes_are_listed_in_time_and_end() -> Result<()> {
    let host = Host::with([Handler::quick("crowd", "2s")])?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    let sandboxes = wedge(&host, &host.handler("crowd")?, CROWD)?;
    let mut counts = Vec::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let began = Instant::now();
        let listed = ctr.tasks(SOON)?;
        slowest = slowest.max(began.elapsed());
        counts.push(threads(&sandboxes));
        ensure!(listed.len() == CROWD, "{} listed", listed.len());
        ensure!(listed.iter().all(|task| task.status == "RUNNING"), "{listed:?}");
    }
    println!("{CROWD} wedged: ctr task ls takes at most {slowest:?}, threads of all real shims {counts:?}");
    ensure!(slowest < Duration::from_secs(3), "slow: {slowest:?}");
    let (first, last) = (counts.first().copied().unwrap_or(0), counts.last().copied().unwrap_or(0));
    ensure!(last <= first + CROWD as u64, "threads grow: {counts:?}");

    let began = Instant::now();
    let refused = thread::scope(|scope| {
        let asked: Vec<_> = (0..CROWD)
            .map(|number| {
                let ctr = &ctr;
                scope.spawn(move || ctr.force_delete_task(&id(number), SOON)?.ok())
            })
            .collect();
        asked
            .into_iter()
            .filter_map(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))).err())
            .collect::<Vec<_>>()
    });
    println!("{CROWD} wedged: all ended in {:?}", began.elapsed());
    ensure!(refused.is_empty(), "{} of {CROWD} refused, the first: {:?}", refused.len(), refused.first());
    ensure!(ctr.tasks(SOON)?.is_empty(), "{:?}", ctr.tasks(SOON)?);
    for number in 0..CROWD {
        ctr.delete_container(&id(number))?;
    }
    assert_nothing_left(&host, &before, SOON)
}

/// How long containerd takes, killed and started again, until CRI serves.
fn restart(host: &Host) -> Result<Duration> {
    host.stop_containerd();
    let began = Instant::now();
    host.start_containerd()?;
    let cri = host.cri()?;
    eventually(SOON, "CRI serves", || cri.pods(SOON).ok())?;
    Ok(began.elapsed())
}

/// containerd asks every shim before it serves anybody: a node whose sandboxes are stopped gets it back as soon as one
/// whose sandboxes are well. (At a second for each container, 180 of them are beyond what systemd waits for.)
#[test]
fn containerd_comes_back_to_stopped_sandboxes_as_to_healthy_ones() -> Result<()> {
    let pods: usize = std::env::var("RUNSC_GUARD_CROWD").map_or(Ok(3), |pods| pods.parse())?;
    let host = Host::with([Handler::quick("crowd", "2s")])?;
    let before = Resources::of(&host);
    let cri = host.cri()?;
    let start = &|number: usize| -> Result<Pod> {
        let cri = host.cri()?;
        let pod = cri.run_pod("crowd", &format!("p{number}"))?;
        for name in ["a", "b", "c"] {
            cri.run_container(&pod, name, &["sleep", "1000"])?;
        }
        Ok(pod)
    };
    let pods = thread::scope(|scope| {
        let pods: Vec<_> = (0..pods).map(|number| scope.spawn(move || start(number))).collect();
        let join = |pod: thread::ScopedJoinHandle<'_, Result<Pod>>| {
            pod.join().map_err(|_| anyhow::anyhow!("a pod panicked"))?
        };
        pods.into_iter().map(join).collect::<Result<Vec<Pod>>>()
    })?;
    let healthy = restart(&host)?;
    for pod in &pods {
        Sandbox::of(&host, &pod.id)?.stop_sentry()?;
    }
    let stopped = restart(&host)?;
    println!("{} containers: healthy {healthy:?}, stopped {stopped:?}", 4 * pods.len());
    ensure!(stopped < healthy * 2 + Duration::from_secs(2), "healthy {healthy:?}, stopped {stopped:?}");
    ensure!(cri.containers(SOON)?.iter().filter(|(_, state)| *state == 1).count() == 3 * pods.len());
    thread::scope(|scope| {
        let ends: Vec<_> = pods.iter().map(|pod| scope.spawn(|| host.cri()?.end_pod(pod))).collect();
        ends.into_iter().try_for_each(|end| end.join().map_err(|_| anyhow::anyhow!("an end panicked"))?)
    })?;
    assert_nothing_left(&host, &before, SOON)
}
