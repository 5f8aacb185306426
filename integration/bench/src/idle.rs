//! What a node spends while nothing happens: six pods of three containers that sleep, whose Stats containerd's CRI asks for
//! once a second each.
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
use anyhow::Result;
use harness::{eventually, process::Process};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const PODS: usize = 6;
const CONTAINERS: usize = 3;
/// CRI asks for the pause containers as well.
const ASKED: f64 = (PODS * (CONTAINERS + 1)) as f64;
/// All Go heaps are collected once, and every container has proved itself to its guard.
const SETTLE: Duration = Duration::from_secs(12);
/// How long the shims of the round before may take to go.
const LEAVING: Duration = Duration::from_secs(10);
/// Rounds at most: a ratio has its interval from six on.
const MOST: usize = 8;
/// Clock ticks of /proc.
const TICKS: f64 = 100.0;

/// Milliseconds of a processor per container and second, by who has spent them, and how often shims woke up.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    containerd: f64,
    shims: f64,
    sandboxes: f64,
    wake_ups: f64,
}

impl Spent {
    fn total(self) -> f64 {
        self.containerd + self.shims + self.sandboxes
    }
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let (rounds, window) = if stage.options.check { (1, 10) } else { (stage.options.pairs.min(MOST), 30) };
    let mut sides: BTreeMap<Side, Vec<Spent>> = BTreeMap::new();
    for round in 0..rounds {
        for node in stage.pair(round) {
            stage.say(format_args!("idle node, {}, round {round}", node.side.name()));
            let spent = idle(stage, node, round, Duration::from_secs(window))?;
            sides.entry(node.side).or_default().push(spent);
        }
    }
    Ok(section(stage, &sides))
}

fn idle(stage: &Stage<'_>, node: &Node<'_>, round: usize, window: Duration) -> Result<Spent> {
    eventually(LEAVING, "the shims of earlier pods leave", || {
        (running(node.host, GUARD).is_empty() && running(node.host, REAL_SHIM).is_empty()).then_some(())
    })?;
    let name = |number| format!("{}-idle-{round}-{number}", node.side.name());
    let pods = (0..PODS)
        .map(|number| Ok(subject::start(node, &name(number), CONTAINERS)?.0))
        .collect::<Result<Vec<_>>>()?;
    stage.interrupt.pause(SETTLE)?;
    let before = so_far(node)?;
    stage.interrupt.pause(window)?;
    let after = so_far(node)?;
    pods.iter().try_for_each(|pod| subject::end(node, pod))?;
    let per = |after: f64, before: f64| (after - before) / window.as_secs_f64() / ASKED;
    Ok(Spent {
        containerd: per(after.containerd, before.containerd),
        shims: per(after.shims, before.shims),
        sandboxes: per(after.sandboxes, before.sandboxes),
        wake_ups: per(after.wake_ups, before.wake_ups) * ASKED,
    })
}

/// Milliseconds of a processor since each process began, and times that shims have waited.
fn so_far(node: &Node<'_>) -> Result<Spent> {
    let mut spent = Spent { containerd: ticks(&node.host.containerd()?), ..Spent::default() };
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

/// utime, stime and the same of the children that it has waited for.
fn parse(stat: &str) -> Option<f64> {
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<f64>().ok()).sum()
}

/// One of its parts.
type What = fn(Spent) -> f64;

fn section(stage: &Stage<'_>, sides: &BTreeMap<Side, Vec<Spent>>) -> Section {
    let judge = stage.options.judge();
    let mut table = Table::new(["idle node, ms per container and second", "unguarded", "guarded", "ratio"]);
    let of = |side, what: What| -> Vec<f64> {
        sides.get(&side).into_iter().flatten().map(|spent| what(*spent)).collect()
    };
    let mut findings = Vec::new();
    let parts: [(&str, What, Option<f64>); 5] = [
        ("containerd", |spent| spent.containerd, None),
        ("shims and runsc", |spent| spent.shims, Some(budget::IDLE_SHIMS)),
        ("sandboxes", |spent| spent.sandboxes, None),
        ("all", Spent::total, Some(budget::IDLE)),
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
            findings.push(judge.ratio(&format!("idle node, {name}"), median_interval(&ratios), limit));
        }
    }
    table.notes.push(format!(
        "{PODS} pods of {CONTAINERS} containers and their pause containers, {} rounds",
        of(Side::Guarded, Spent::total).len()
    ));
    let json = |spent: &Spent| {
        let Spent { containerd, shims, sandboxes, wake_ups } = spent;
        json!({ "containerd_ms": containerd, "shims_ms": shims, "sandboxes_ms": sandboxes, "wake_ups_per_s": wake_ups })
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
}
