//! What a node spends while nothing happens: pods whose containers sleep, and whose Stats containerd's CRI asks for once a
//! second each.
//!
//! The sides take turns on one containerd, and a round's ratio is of runs that follow each other. What counts is the
//! processor time of containerd, of all shims with every `runsc` that they have waited for, and of the sandboxes, by
//! /proc/PID/stat: other processes of the machine disturb it, but are not in it.

use crate::{
    budget,
    memory::weight::{GUARD, REAL_SHIM, running},
    nodes::{Node, Side},
    section::{Section, Stage},
    stats::{median, median_interval},
    subject,
    table::Table,
};
use anyhow::{Context as _, Result};
use harness::{Pod, eventually, process::Process};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// How long all that may take to go which was there before.
const LEAVING: Duration = Duration::from_secs(10);
/// Rounds at most: a ratio has its interval from six on.
const MOST: usize = 8;
/// Clock ticks of /proc.
const TICKS: f64 = 100.0;

/// What idles, and how long it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) pods: usize,
    pub(crate) containers: usize,
    /// All Go heaps are collected once, and every container has proved itself to its guard.
    pub(crate) settle: Duration,
    pub(crate) window: Duration,
}

impl Load {
    /// CRI asks for the pause containers as well.
    fn asked(self) -> f64 {
        (self.pods * (self.containers + 1)) as f64
    }
}

/// Milliseconds of a processor per container and second, by who has spent them, and how often shims woke up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    containerd: f64,
    shims: f64,
    sandboxes: f64,
    /// By everybody on the machine.
    machine: f64,
    wake_ups: f64,
}

/// What each side has spent, round by round.
pub(crate) type Sides = BTreeMap<Side, Vec<Spent>>;

impl Spent {
    fn total(self) -> f64 {
        self.containerd + self.shims + self.sandboxes
    }
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let (rounds, window) = if stage.options.check { (1, 10) } else { (stage.options.pairs.min(MOST), 30) };
    let window = Duration::from_secs(window);
    let load = Load { pods: 6, containers: 3, settle: Duration::from_secs(12), window };
    let mut sides = Sides::new();
    for round in 0..rounds {
        for node in stage.pair(round) {
            let end = |pods: Vec<Pod>| pods.iter().try_for_each(|pod| subject::end(node, pod));
            sides.entry(node.side).or_default().push(idle(stage, node, load, round, end)?);
        }
    }
    Ok(section(stage, load, &sides))
}

/// Lets a node idle, and what it ran be ended.
pub(crate) fn idle(
    stage: &Stage<'_>,
    node: &Node<'_>,
    load: Load,
    round: usize,
    end: impl FnOnce(Vec<Pod>) -> Result<()>,
) -> Result<Spent> {
    stage.say(format_args!("idle node of {} pods, {}, round {round}", load.pods, node.side.name()));
    eventually(LEAVING, "the shims of earlier pods leave", || {
        (running(node.host, GUARD).is_empty() && running(node.host, REAL_SHIM).is_empty()).then_some(())
    })?;
    let name = |number| format!("{}-idle-{round}-{number}", node.side.name());
    let pods = (0..load.pods)
        .map(|number| Ok(subject::start(node, &name(number), load.containers)?.0))
        .collect::<Result<Vec<_>>>()?;
    stage.interrupt.pause(load.settle)?;
    let before = so_far(node)?;
    stage.interrupt.pause(load.window)?;
    let after = so_far(node)?;
    end(pods)?;
    let per = |after: f64, before: f64| (after - before) / load.window.as_secs_f64() / load.asked();
    Ok(Spent {
        containerd: per(after.containerd, before.containerd),
        shims: per(after.shims, before.shims),
        sandboxes: per(after.sandboxes, before.sandboxes),
        machine: per(after.machine, before.machine),
        wake_ups: per(after.wake_ups, before.wake_ups) * load.asked(),
    })
}

/// Milliseconds of a processor since each process began, and times that shims have waited.
fn so_far(node: &Node<'_>) -> Result<Spent> {
    let containerd = ticks(&node.host.containerd()?);
    let mut spent = Spent { containerd, machine: machine()?, ..Spent::default() };
    let shims = [running(node.host, GUARD), running(node.host, REAL_SHIM)].concat();
    let is_shim = |process: &Process| shims.iter().any(|shim| shim.pid == process.pid);
    for process in Process::with_descendants(is_shim) {
        // Who waits for a `runsc` has its time; one that runs right now has it itself.
        let is_runsc = process.args.first().is_some_and(|arg| arg.ends_with("/runsc"));
        if is_shim(&process) || is_runsc {
            spent.shims += ticks(&process);
        } else {
            spent.sandboxes += ticks(&process);
        }
    }
    for shim in &shims {
        spent.wake_ups += crate::latency::cost::Cost::so_far(shim)?.switches;
    }
    Ok(spent)
}

/// In milliseconds; none of a process that has ended meanwhile.
fn ticks(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    parse(&stat).unwrap_or(0.0) * 1000.0 / TICKS
}

/// The same of all processors.
fn machine() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    Ok(busy(&stat).context("/proc/stat")? * 1000.0 / TICKS)
}

/// All of the first line but idle, waiting for a disk, and what guests have, which is in the first two.
fn busy(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.split_ascii_whitespace().skip(1).take(8).enumerate();
    fields.filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, field)| field.parse::<f64>().ok()).sum()
}

/// utime, stime and the same of the children that it has waited for.
fn parse(stat: &str) -> Option<f64> {
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<f64>().ok()).sum()
}

/// One of its parts.
type What = fn(Spent) -> f64;

pub(crate) fn section(stage: &Stage<'_>, load: Load, sides: &Sides) -> Section {
    let judge = stage.options.judge();
    let mut table = Table::new(["idle node, ms per container and second", "unguarded", "guarded", "ratio"]);
    let of = |side, what: What| -> Vec<f64> {
        sides.get(&side).into_iter().flatten().map(|spent| what(*spent)).collect()
    };
    let mut findings = Vec::new();
    let parts: [(&str, What, Option<f64>); 6] = [
        ("containerd", |spent| spent.containerd, None),
        ("shims and runsc", |spent| spent.shims, Some(budget::IDLE_SHIMS)),
        ("sandboxes", |spent| spent.sandboxes, None),
        ("all", Spent::total, Some(budget::IDLE)),
        ("the machine, other work too", |spent| spent.machine, None),
        ("shims' wake-ups per second", |spent| spent.wake_ups, None),
    ];
    for (name, what, limit) in parts {
        let (unguarded, guarded) = (of(Side::Unguarded, what), of(Side::Guarded, what));
        let ratios: Vec<f64> = unguarded.iter().zip(&guarded).map(|(before, after)| after / before).collect();
        let show =
            |values: &[f64]| median(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let ratio = median(&ratios).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        table.row([name.to_owned(), show(&unguarded), show(&guarded), ratio]);
        if let Some(limit) = limit {
            let what = format!("node of {} idle pods, {name}", load.pods);
            findings.push(judge.ratio(&what, median_interval(&ratios), limit));
        }
    }
    table.notes.push(format!(
        "{} pods of {} containers and their pause containers, {} rounds of {} s",
        load.pods,
        load.containers,
        of(Side::Guarded, Spent::total).len(),
        load.window.as_secs()
    ));
    let json = |spent: &Spent| {
        let Spent { containerd, shims, sandboxes, machine, wake_ups } = spent;
        json!({
            "containerd_ms": containerd, "shims_ms": shims, "sandboxes_ms": sandboxes,
            "machine_ms": machine, "wake_ups_per_s": wake_ups,
        })
    };
    let all = sides.iter().map(|(side, spent)| (side.name().to_owned(), spent.iter().map(json).collect()));
    Section {
        tables: vec![table],
        json: serde_json::Value::Object(all.collect()),
        findings,
        ..Section::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_own_time_and_that_of_its_children() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 5 6";
        assert_eq!(parse(stat), Some(4330.0));
        assert_eq!(parse("7 (x) S 1"), Some(0.0));
    }

    #[test]
    fn a_machine_is_busy_but_where_it_waits() {
        assert_eq!(busy("cpu  1 20 300 9 9 4000 50000 600000 9 9\ncpu0 7"), Some(654_321.0));
        assert_eq!(busy(""), None);
    }
}
