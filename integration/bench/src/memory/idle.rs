//! One sandbox that nobody asks anything: what its guard and real shim weigh, how often they wake up, and what they
//! weigh after they have been asked ten thousand times.

use super::weight::{GUARD, REAL_SHIM, Weight, running};
use crate::{
    budget::Finding,
    latency::{client::Asker, cost::Cost},
    nodes::{Node, Side},
    section::Stage,
    table::Table,
};
use anyhow::Result;
use containerd_shim_protos::api;
use harness::{
    process::Process,
    wire::{TASK, request},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long nothing must happen.
const QUIET: Duration = Duration::from_secs(10);
/// Heaps are collected, threads of a burst end.
const SETTLE: Duration = Duration::from_secs(3);
const REQUESTS: usize = 10_000;
/// Of them so many make the real shim run runsc.
const STATS: usize = 500;

/// What was seen of one side's shims.
struct Look {
    side: Side,
    program: &'static str,
    idle: Weight,
    /// Times that one of its threads had waited and went on, per second.
    wake_ups: f64,
    asked: Weight,
}

pub(super) struct Idle(Vec<Look>);

pub(super) fn measure(stage: &Stage<'_>) -> Result<Idle> {
    let mut looks = Vec::new();
    for node in stage.nodes.iter().filter(|node| node.side != Side::Grouped) {
        stage.say(format_args!("idle, {}", node.side.name()));
        looks.extend(look(stage, node)?);
    }
    Ok(Idle(looks))
}

fn look(stage: &Stage<'_>, node: &Node<'_>) -> Result<Vec<Look>> {
    let (host, ctr, id) = (node.host, node.host.ctr(), format!("idle-{}", node.side.name()));
    ctr.start(&host.handler(node.side.name())?, &id, &["sleep", "100000"])?;
    stage.interrupt.pause(SETTLE)?;
    let shims: Vec<(&str, Process)> = [GUARD, REAL_SHIM]
        .into_iter()
        .flat_map(|program| running(host, program).into_iter().map(move |process| (program, process)))
        .collect();
    let weigh = || shims.iter().map(|(_, process)| Weight::of(process)).collect::<Result<Vec<_>>>();
    let switches =
        || shims.iter().map(|(_, process)| Ok(Cost::so_far(process)?.switches)).collect::<Result<Vec<_>>>();
    let idle = weigh()?;
    let before = switches()?;
    stage.interrupt.pause(QUIET)?;
    let after = switches()?;

    let mut asker = Asker::connect(&host.shim_socket(ctr.namespace(), &id)?)?;
    let mut stats = request(0, TASK, "Stats", &api::StatsRequest { id: id.clone(), ..Default::default() })?;
    let close = api::CloseIORequest { id: id.clone(), stdin: true, ..Default::default() };
    let mut close = request(0, TASK, "CloseIO", &close)?;
    asker.ask_many(&mut close, REQUESTS - STATS, 1)?;
    asker.ask_many(&mut stats, STATS, 1)?;
    stage.interrupt.pause(SETTLE)?;
    let asked = weigh()?;
    ctr.remove(&id)?;

    let looks = shims.iter().enumerate().map(|(at, (program, _))| Look {
        side: node.side,
        program,
        idle: idle[at],
        wake_ups: (after[at] - before[at]) / QUIET.as_secs_f64(),
        asked: asked[at],
    });
    Ok(looks.collect())
}

impl Idle {
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new([
            "stand-alone container",
            "program",
            "PSS",
            "RSS",
            "threads",
            "fds",
            "wake-ups/s",
            "PSS, asked",
            "RSS, asked",
            "threads",
        ]);
        for look in &self.0 {
            let mib = |kib: u64| format!("{:.2}", kib as f64 / 1024.0);
            table.row([
                look.side.name().to_owned(),
                look.program.to_owned(),
                mib(look.idle.pss),
                mib(look.idle.rss),
                look.idle.threads.to_string(),
                look.idle.fds.to_string(),
                format!("{:.1}", look.wake_ups),
                mib(look.asked.pss),
                mib(look.asked.rss),
                look.asked.threads.to_string(),
            ]);
        }
        table.notes.push(format!("MiB; asked: after {REQUESTS} requests, {STATS} of them Stats"));
        table
    }

    /// Nobody asks: nobody wakes up.
    pub(super) fn finding(&self) -> Option<Finding> {
        let guard = self.0.iter().find(|look| look.program == GUARD)?;
        Some(Finding {
            what: "guard's wake-ups when idle".to_owned(),
            text: format!("{:.1} a second, at most 0", guard.wake_ups),
            held: guard.wake_ups <= 0.0,
        })
    }

    pub(super) fn json(&self) -> Value {
        let look = |look: &Look| {
            json!({
                "side": look.side.name(), "program": look.program, "idle": look.idle.json(),
                "wake_ups_per_s": look.wake_ups, "asked": look.asked.json(),
            })
        };
        json!(self.0.iter().map(look).collect::<Vec<_>>())
    }
}
