//! The weight of processes, and of all shims of a node.

use crate::{
    nodes::{Node, Side},
    section::Stage,
    subject,
};
use anyhow::{Context as _, Result};
use harness::{Host, eventually, process::Process};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

pub(crate) const GUARD: &str = "containerd-shim-runsc-guard-v2";
pub(crate) const REAL_SHIM: &str = "containerd-shim-runsc-v1";

/// How long pods idle before they are weighed: their Go heaps have been collected once, and Stats was asked.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the shims of pods that are gone may take to follow them.
const LEAVING: Duration = Duration::from_secs(10);

/// What a process takes up, or several together. Kibibytes as `smaps_rollup` counts them (exact, where VmRSS lags
/// behind).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
    pub(crate) uss: u64,
    pub(crate) threads: u64,
    pub(crate) fds: u64,
}

impl Weight {
    pub(crate) fn of(process: &Process) -> Result<Self> {
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{path}: {process}"))?;
        Ok(Self {
            threads: process.status_number("Threads").context("no thread count")?,
            fds: std::fs::read_dir(format!("/proc/{}/fd", process.pid))?.count() as u64,
            ..Self::parse(&text)
        })
    }

    /// Of all of them together.
    pub(crate) fn sum(processes: &[Process]) -> Result<Self> {
        processes.iter().try_fold(Self::default(), |sum, process| {
            let one = Self::of(process)?;
            Ok(Self {
                rss: sum.rss + one.rss,
                pss: sum.pss + one.pss,
                uss: sum.uss + one.uss,
                threads: sum.threads + one.threads,
                fds: sum.fds + one.fds,
            })
        })
    }

    fn parse(text: &str) -> Self {
        let number = |field: &str| -> u64 {
            let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Self {
            rss: number("Rss"),
            pss: number("Pss"),
            uss: number("Private_Clean") + number("Private_Dirty"),
            ..Self::default()
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({
            "rss_kib": self.rss, "pss_kib": self.pss, "uss_kib": self.uss, "threads": self.threads, "fds": self.fds,
        })
    }
}

/// How many of what were weighed, and for which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) pods: usize,
    /// In each of the pods.
    pub(crate) containers: usize,
    pub(crate) round: usize,
}

impl Size {
    pub(crate) fn same_size(self, other: Self) -> bool {
        (self.pods, self.containers) == (other.pods, other.containers)
    }
}

/// What stands between containerd and the sandboxes of a node, in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shims {
    pub(crate) side: Side,
    pub(crate) of: Size,
    pub(crate) guards: Weight,
    pub(crate) real_shims: Weight,
}

impl Shims {
    /// Runs so many pods and weighs their shims.
    pub(crate) fn weigh(stage: &Stage<'_>, node: &Node<'_>, of: Size) -> Result<Self> {
        let Size { pods, containers, round } = of;
        eventually(LEAVING, "the shims of earlier pods leave", || {
            (running(node.host, GUARD).is_empty() && running(node.host, REAL_SHIM).is_empty()).then_some(())
        })?;
        let name = |number| format!("{}-weigh-{pods}-{containers}-{round}-{number}", node.side.name());
        let started = (0..pods)
            .map(|number| Ok(subject::start(node, &name(number), containers)?.0))
            .collect::<Result<Vec<_>>>()?;
        stage.interrupt.pause(SETTLE)?;
        let weight = |program| Weight::sum(&running(node.host, program));
        let (guards, real_shims) = (weight(GUARD)?, weight(REAL_SHIM)?);
        started.iter().try_for_each(|pod| subject::end(node, pod))?;
        Ok(Self { side: node.side, of, guards, real_shims })
    }

    pub(crate) fn name(&self) -> String {
        let Size { pods, containers, .. } = self.of;
        let pods = if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") };
        format!("{pods} of {containers}")
    }

    /// Everything together, per pod, in KiB.
    pub(crate) fn per_pod(&self, what: impl Fn(Weight) -> u64) -> f64 {
        (what(self.guards) + what(self.real_shims)) as f64 / self.of.pods as f64
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "side": self.side.name(), "pods": self.of.pods, "containers": self.of.containers, "round": self.of.round,
            "guards": self.guards.json(), "real_shims": self.real_shims.json(),
        })
    }
}

/// This host's processes of that program. A guard's and a shim's `start` and `delete` do not live long enough to be
/// weighed.
pub(crate) fn running(host: &Host, program: &str) -> Vec<Process> {
    let is_it = |process: &Process| {
        process
            .args
            .first()
            .is_some_and(|path| Path::new(path).file_name().is_some_and(|name| name == program))
    };
    host.processes().into_iter().filter(|process| process.state != 'Z' && is_it(process)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_by_its_fields() {
        let text = "55d0-7ffd ---p 00000000 00:00 0  [rollup]\n\
            Rss:                1700 kB\nPss:                 900 kB\nPss_Dirty:           400 kB\n\
            Shared_Clean:        800 kB\nPrivate_Clean:       500 kB\nPrivate_Dirty:       400 kB\n";
        assert_eq!(Weight::parse(text), Weight { rss: 1700, pss: 900, uss: 900, ..Weight::default() });
    }
}
