//! What shims weigh while their pods idle.
//!
//! PSS shares what several processes map of one binary among them, which is what a node pays; RSS is what most
//! people look at. Both sides are measured one after the other, so that neither shares pages with the other
//! (their real shims are two files where `hack/stack` had to build a tolerant one).
//!
//! Limits: containerd's CRI asks Stats once a second per container, so "idle" is idle but for that.

use crate::{
    budget,
    life::Side,
    section::{Section, Stage, Table},
    svg::{Mark, Panel},
};
use anyhow::{Context as _, Result};
use integration::{Host, eventually, process::Process};
use serde_json::json;
use std::{path::Path, time::Duration};

const GUARD: &str = "containerd-shim-runsc-guard-v2";
const REAL_SHIM: &str = "containerd-shim-runsc-v1";

/// How long pods idle before they are weighed: their Go heaps have been collected once, and Stats was asked.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the shims of pods that are gone may take to follow them.
const LEAVING: Duration = Duration::from_secs(10);

/// Kibibytes as `smaps_rollup` counts them (exact, where VmRSS lags behind).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    rss: u64,
    pss: u64,
    /// What would come back if only this process went.
    uss: u64,
}

impl Weight {
    fn of(process: &Process) -> Result<Self> {
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{path}: {process}"))?;
        Ok(Self::parse(&text))
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
        }
    }

    fn add(&mut self, other: Self) {
        self.rss += other.rss;
        self.pss += other.pss;
        self.uss += other.uss;
    }
}

/// What stands between containerd and the sandboxes of `pods` pods with one container each, in all.
#[derive(Clone, Copy, Debug)]
struct Shims {
    side: Side,
    pods: usize,
    guards: Weight,
    real_shims: Weight,
}

impl Shims {
    /// Everything together, per pod, in KiB.
    fn per_pod(&self, what: impl Fn(Weight) -> u64) -> f64 {
        (what(self.guards) + what(self.real_shims)) as f64 / self.pods as f64
    }
}

/// One guard beside its running pod.
#[derive(Clone, Copy, Debug)]
struct Idle {
    weight: Weight,
    threads: u64,
    fds: usize,
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let (mut shims, mut idle) = (Vec::new(), None);
    let counts: &[usize] = if stage.options.check { &[1] } else { &[1, 5] };
    for &pods in counts {
        for side in Side::BOTH {
            stage.say(format_args!("weighing {pods} x {}", side.name()));
            let (weighed, guard) = weigh(stage, side, pods)?;
            shims.push(weighed);
            idle = idle.or(guard);
        }
    }
    let idle = idle.context("no guard was weighed")?;
    let binary_bytes = std::fs::metadata(&stage.host.parts().guard)?.len();
    let binary_kib = binary_bytes as f64 / 1024.0;
    let weight =
        |weight: Weight| json!({ "rss_kib": weight.rss, "pss_kib": weight.pss, "uss_kib": weight.uss });
    Ok(Section {
        tables: vec![table(&shims, &idle, binary_kib)],
        panels: vec![panel(&shims)],
        json: json!({
            "shims": shims.iter().map(|shims| json!({
                "side": shims.side.name(),
                "pods": shims.pods,
                "guards": weight(shims.guards),
                "real_shims": weight(shims.real_shims),
            })).collect::<Vec<_>>(),
            "guard": {
                "weight": weight(idle.weight),
                "threads": idle.threads,
                "fds": idle.fds,
                "binary_bytes": binary_bytes,
            },
        }),
        findings: vec![
            budget::size("guard's RSS", idle.weight.rss as f64, budget::RSS_KIB),
            budget::size("guard's binary", binary_kib, budget::BINARY_KIB),
        ],
    })
}

/// A column of [`Weight`].
type Column = (&'static str, fn(Weight) -> u64);

const WEIGHTS: [Column; 2] = [("PSS", |weight| weight.pss), ("RSS", |weight| weight.rss)];

/// Unguarded and guarded of the same number of pods.
fn pairs(shims: &[Shims]) -> impl Iterator<Item = (&Shims, &Shims)> {
    let of = |side| shims.iter().filter(move |shims| shims.side == side);
    of(Side::Unguarded).zip(of(Side::Guarded))
}

fn table(shims: &[Shims], idle: &Idle, binary_kib: f64) -> Table {
    let mut table = Table::new(["shims, MiB per pod", "unguarded", "guarded", "ratio", "of which guard"]);
    for (name, what) in WEIGHTS {
        for (unguarded, guarded) in pairs(shims) {
            let mib = |shims: &Shims| shims.per_pod(what) / 1024.0;
            table.row([
                format!("{name}, {} pods", guarded.pods),
                format!("{:.2}", mib(unguarded)),
                format!("{:.2}", mib(guarded)),
                format!("{:.3}", mib(guarded) / mib(unguarded)),
                format!("{:.2}", what(guarded.guards) as f64 / guarded.pods as f64 / 1024.0),
            ]);
        }
    }
    let mib = |kib: u64| kib as f64 / 1024.0;
    table.notes.push(format!(
        "guard beside a running pod: RSS {:.2} MiB, PSS {:.2}, USS {:.2}, {} threads, {} fds; binary {:.2} MiB",
        mib(idle.weight.rss),
        mib(idle.weight.pss),
        mib(idle.weight.uss),
        idle.threads,
        idle.fds,
        binary_kib / 1024.0
    ));
    table
}

fn panel(shims: &[Shims]) -> Panel {
    let mark = |(unguarded, guarded): (&Shims, &Shims)| {
        let mib = |shims: &Shims| shims.per_pod(|weight| weight.pss) / 1024.0;
        Mark {
            label: format!("{} pods", guarded.pods),
            value: mib(guarded) / mib(unguarded),
            interval: None,
            text: format!("{:.1} MiB, unguarded {:.1} MiB", mib(guarded), mib(unguarded)),
        }
    };
    Panel {
        title: "Shims' PSS per pod, guarded over unguarded".to_owned(),
        reference: Some(1.0),
        marks: pairs(shims).map(mark).collect(),
    }
}

/// Weighs the shims of `pods` pods, and one of the guards where there are any.
fn weigh(stage: &Stage<'_>, side: Side, pods: usize) -> Result<(Shims, Option<Idle>)> {
    let (host, cri) = (stage.host, stage.cri);
    eventually(LEAVING, "the shims of earlier pods leave", || {
        (running(host, GUARD).is_empty() && running(host, REAL_SHIM).is_empty()).then_some(())
    })?;
    let started = (0..pods)
        .map(|number| {
            let pod = cri.run_pod(side.name(), &format!("weigh-{number}"))?;
            cri.run_container(&pod, "main", &["sleep", "100000"])?;
            Ok(pod)
        })
        .collect::<Result<Vec<_>>>()?;
    stage.interrupt.pause(SETTLE)?;
    let mut shims = Shims { side, pods, guards: Weight::default(), real_shims: Weight::default() };
    // Unguarded, each container has a real shim of its own (gVisor's default): all count.
    for shim in running(host, REAL_SHIM) {
        shims.real_shims.add(Weight::of(&shim)?);
    }
    let mut idle = None;
    for guard in running(host, GUARD) {
        let weight = Weight::of(&guard)?;
        shims.guards.add(weight);
        idle = Some(Idle {
            weight,
            threads: guard.status_number("Threads").context("no thread count")?,
            fds: std::fs::read_dir(format!("/proc/{}/fd", guard.pid))?.count(),
        });
    }
    for pod in &started {
        cri.end_pod(pod)?;
    }
    Ok((shims, idle))
}

/// This host's processes of that program. A guard's and a shim's `start` and `delete` do not live long enough to
/// be weighed.
fn running(host: &Host, program: &str) -> Vec<Process> {
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
        assert_eq!(Weight::parse(text), Weight { rss: 1700, pss: 900, uss: 900 });
    }
}
