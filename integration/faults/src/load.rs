//! Load: many pods, and one that is asked forever. What must stay flat is measured from outside.

use anyhow::{Result, anyhow, bail};
use containerd_shim_protos::shim::shim as task;
use harness::{
    Cri, Figures, Handler, Host, Pod, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    wire::{Wire, timed},
};
use rustix::process::Signal;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Pods that are started at a time.
const LANES: usize = 4;
/// How long one attempt to stop a pod may take; a kubelet tries again.
const ATTEMPT: Duration = Duration::from_secs(20);
/// What containerd gives State and Stats.
const CALLER: Duration = Duration::from_secs(2);

/// A host with both handlers: `guarded` (2 s to the exit) and `unguarded`.
pub fn host() -> Result<Host> {
    Host::pair(Handler::quick("guarded", "2s"))
}

fn run_pods(cri: &Cri, numbers: std::ops::Range<usize>) -> Result<Vec<Pod>> {
    let run = |lane: usize| -> Result<Vec<Pod>> {
        let mine = numbers.clone().filter(|number| number % LANES == lane);
        mine.map(|number| {
            let pod = cri.run_pod("guarded", &format!("load-{number}"))?;
            cri.run_container(&pod, "main", &["sleep", "100000"])?;
            Ok(pod)
        })
        .collect()
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || run(lane))).collect();
        let pods = lanes.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?);
        Ok(pods.collect::<Result<Vec<_>>>()?.concat())
    })
}

/// Stops and removes each pod, all at once, as often as it takes.
fn end_pods(cri: &Cri, pods: &[Pod]) -> Result<()> {
    let end = |pod: &Pod| -> Result<()> {
        eventually(Duration::from_secs(120), "the pod is stopped", || cri.stop_pod(pod, ATTEMPT).ok())?;
        // As a kubelet does; whether anything is left is judged in the end.
        eventually(SOON, "the pod is removed", || cri.remove_pod(pod, ATTEMPT).ok())
    };
    thread::scope(|scope| {
        let ends: Vec<_> = pods.iter().map(|pod| scope.spawn(move || end(pod))).collect();
        ends.into_iter().try_for_each(|end| end.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

/// Healthy pods that come and go in waves: the time per pod, and what containerd took up before and after.
pub fn waves(host: &Host, pods: usize, wave: usize) -> Result<(Duration, Figures, Figures)> {
    let cri = host.cri()?;
    let before = Resources::of(host);
    let containerd = host.containerd()?;
    // The first pods fill caches.
    end_pods(&cri, &run_pods(&cri, 0..LANES)?)?;
    let first = Figures::of(&containerd)?;
    let began = Instant::now();
    let mut number = 0;
    while number < pods {
        let end = pods.min(number + wave);
        end_pods(&cri, &run_pods(&cri, number..end)?)?;
        number = end;
    }
    let each = began.elapsed() / u32::try_from(pods)?;
    assert_nothing_left(host, &before, SOON)?;
    Ok((each, first, Figures::of(&containerd)?))
}

/// What ending a crowd of wedged pods took.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// From the first StopPodSandbox to the last RemovePodSandbox.
    pub took: Duration,
    /// The most that one guard took up while its sandbox was wedged.
    pub guard: Figures,
}

/// Pods whose sentries are all stopped, then ended at once; fails if anything is left.
pub fn crowd(host: &Host, pods: usize) -> Result<Crowd> {
    let cri = host.cri()?;
    let before = Resources::of(host);
    let started = run_pods(&cri, 0..pods)?;
    let sandboxes = started.iter().map(|pod| Sandbox::of(host, &pod.id)).collect::<Result<Vec<_>>>()?;
    for sandbox in &sandboxes {
        sandbox.stop_sentry()?;
    }
    let began = Instant::now();
    let guard = thread::scope(|scope| -> Result<Figures> {
        let ended = scope.spawn(|| end_pods(&cri, &started));
        let mut most = Figures::default();
        while !ended.is_finished() {
            let alive = sandboxes.iter().filter_map(|sandbox| Figures::of(sandbox.guard.as_ref()?).ok());
            most = alive.fold(most, Figures::max);
            thread::sleep(Duration::from_millis(200));
        }
        ended.join().map_err(|_| anyhow!("a thread panicked"))??;
        Ok(most)
    })?;
    let took = began.elapsed();
    assert_nothing_left(host, &before, SOON)?;
    Ok(Crowd { took, guard })
}

/// One look at what is asked forever.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When, since the polling began.
    pub at: Duration,
    /// The guard, where there is one.
    pub guard: Option<Figures>,
    /// The real shim.
    pub real_shim: Figures,
    /// Its goroutines.
    pub goroutines: usize,
}

/// Asks State and Stats of a container whose sentry is stopped, `rate` of each a second with containerd's own
/// timeout, `count` of each in all, and looks `looks` times. Then the container is ended.
pub fn poll(host: &Host, handler: &str, rate: u32, count: u32, looks: u32) -> Result<Vec<Look>> {
    let ctr = host.ctr();
    ctr.start(&host.handler(handler)?, handler, &["sleep", "100000"])?;
    let sandbox = Sandbox::of(host, handler)?;
    sandbox.stop_sentry()?;
    let mut sender = Wire::connect(host, ctr.namespace(), handler)?;
    let mut receiver = Wire { stream: sender.stream.try_clone()? };
    // Answers are taken, or the caller itself would be held up. It ends with the connection.
    let answers = thread::spawn(move || (0_u64..).take_while(|_| receiver.reply().is_ok()).count());
    let began = Instant::now();
    let mut seen = Vec::new();
    for number in 0..count {
        let due = began + Duration::from_secs(1) * number / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let id = || handler.to_owned();
        let (state, stats) = (
            task::StateRequest { id: id(), ..Default::default() },
            task::StatsRequest { id: id(), ..Default::default() },
        );
        sender.send(&timed(number * 4 + 1, "State", &state, CALLER)?)?;
        sender.send(&timed(number * 4 + 3, "Stats", &stats, CALLER)?)?;
        if (number + 1) % (count / looks) == 0 {
            seen.push(look(host, &sandbox, began)?);
        }
    }
    if sandbox.guard.is_some() {
        ctr.remove(handler)?;
        drop(sender);
        let answered = answers.join().map_err(|_| anyhow!("the receiver panicked"))?;
        if answered < 2 * count as usize {
            bail!("{answered} of {} requests were answered", 2 * count);
        }
    }
    Ok(seen)
}

fn look(host: &Host, sandbox: &Sandbox, began: Instant) -> Result<Look> {
    let dumps = || host.log().matches("END goroutine stack dump").count();
    let before = dumps();
    // The guard passes the signal on.
    sandbox.guard.as_ref().unwrap_or(&sandbox.real_shim).signal(Signal::USR1)?;
    eventually(SOON, "the real shim's goroutines", || (dumps() > before).then_some(()))?;
    let log = host.log();
    let dump = log.rsplit("BEGIN goroutine stack dump").next().unwrap_or_default();
    Ok(Look {
        at: began.elapsed(),
        guard: sandbox.guard.as_ref().map(Figures::of).transpose()?,
        real_shim: Figures::of(&sandbox.real_shim)?,
        goroutines: dump.split("goroutine ").skip(1).filter(|rest| is_header(rest)).count(),
    })
}

/// `17 [select]:`, with a time perhaps.
fn is_header(rest: &str) -> bool {
    rest.split_once(" [").is_some_and(|(number, _)| number.parse::<u64>().is_ok())
}
