//! What lives and is timed.

use crate::{
    nodes::{Node, Side},
    stats::median,
};
use anyhow::{Context as _, Result};
use harness::{Pod, PodContainer, eventually, faults::Sandbox};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

/// How long a step may take before the machine, not the shim, is the finding.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Seconds by step.
pub(crate) type Times = BTreeMap<&'static str, f64>;

/// One kind of sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A pod with so many containers, by CRI.
    Pod(usize),
    /// A stand-alone container, by `ctr`: a process per call on every side, which draws ratios towards 1.
    Container,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(containers) => write!(f, "pod of {containers}"),
            Self::Container => write!(f, "stand-alone container"),
        }
    }
}

impl Subject {
    /// One life from its beginning to its end, with so many execs, of which the median counts.
    pub(crate) fn live(self, node: &Node<'_>, number: usize, execs: usize) -> Result<Times> {
        let mut times = Times::new();
        match self {
            Self::Pod(containers) => pod(node, containers, number, execs, &mut times)?,
            Self::Container => container(node, number, execs, &mut times)?,
        }
        if times.contains_key("stop") {
            times.insert("whole life", times.values().sum());
        }
        Ok(times)
    }
}

/// Runs a pod with its containers, one after the other, as a kubelet does.
pub(crate) fn start(node: &Node<'_>, name: &str, containers: usize) -> Result<(Pod, Vec<PodContainer>)> {
    let pod = node.cri.run_pod(node.side.name(), name)?;
    let run = |number| node.cri.run_container(&pod, &format!("c{number}"), &["sleep", "100000"]);
    let containers = (0..containers).map(run).collect::<Result<Vec<_>>>()?;
    Ok((pod, containers))
}

/// Stops and removes a pod, on any side.
pub(crate) fn end(node: &Node<'_>, pod: &Pod) -> Result<()> {
    match node.side {
        Side::Grouped => end_grouped(node, pod),
        Side::Unguarded | Side::Guarded => node.cri.end_pod(pod),
    }
}

fn pod(node: &Node<'_>, containers: usize, number: usize, execs: usize, times: &mut Times) -> Result<()> {
    let name = format!("{}-{containers}-{number}", node.side.name());
    let (pod, running) = timed(times, "start", || start(node, &name, containers))?;
    let last = running.last().context("no container")?;
    median_exec(times, execs, |_| Ok(node.cri.exec(last, &["true"], LIMIT)?))?;
    if node.side == Side::Grouped {
        return end_grouped(node, &pod);
    }
    timed(times, "stop", || Ok(node.cri.stop_pod(&pod, LIMIT)?))?;
    timed(times, "remove", || node.cri.remove_pod(&pod, LIMIT))
}

/// With grouping, gVisor's Shutdown answers an error while containers remain, which containerd 2.4 takes for a failed
/// delete: StopPodSandbox does not end. So there is nothing to time, and the pod is ended by its processes' end. That
/// containerd takes its containers for running ever after costs no more than a line in its memory.
pub(crate) fn end_grouped(node: &Node<'_>, pod: &Pod) -> Result<()> {
    let sandbox = Sandbox::of(node.host, &pod.id)?;
    for process in [sandbox.real_shim, sandbox.sentry] {
        process.signal(Signal::KILL)?;
    }
    eventually(LIMIT, "the pod is stopped", || node.cri.stop_pod(pod, LIMIT).ok())
}

fn container(node: &Node<'_>, number: usize, execs: usize, times: &mut Times) -> Result<()> {
    let (host, ctr) = (node.host, node.host.ctr());
    let id = format!("{}-{number}", node.side.name());
    let handler = host.handler(node.side.name())?;
    timed(times, "start", || ctr.start(&handler, &id, &["sleep", "100000"]))?;
    median_exec(times, execs, |number| ctr.exec(&id, &format!("x{number}"), &["true"], b"", LIMIT)?.ok())?;
    timed(times, "stop", || ctr.force_delete_task(&id, LIMIT)?.ok())?;
    timed(times, "remove", || ctr.delete_container(&id))
}

fn median_exec<T>(times: &mut Times, execs: usize, mut exec: impl FnMut(usize) -> Result<T>) -> Result<()> {
    let each = (0..execs).map(|number| Ok(lasted("exec", || exec(number))?.1));
    let all = each.collect::<Result<Vec<f64>>>()?;
    times.insert("exec", median(&all).context("no exec")?);
    Ok(())
}

pub(crate) fn timed<T>(times: &mut Times, step: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (done, seconds) = lasted(step, work)?;
    times.insert(step, seconds);
    Ok(done)
}

/// What comes of it, and how many seconds it took.
fn lasted<T>(step: &'static str, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let began = Instant::now();
    let done = work().context(step)?;
    Ok((done, began.elapsed().as_secs_f64()))
}
