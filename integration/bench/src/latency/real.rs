//! Both sides as they are: the same question to a sandbox under gVisor's shim and to one under the guard.

use super::{
    client::Asker,
    cost::Cost,
    effort::{CROWD, Effort},
    exec,
    figure::{Figure, Way},
};
use crate::section::Stage;
use anyhow::{Context as _, Result, anyhow};
use containerd_shim_protos::api;
use harness::{
    faults::guard,
    process::Process,
    wire::{TASK, request},
};
use std::{path::PathBuf, thread};

pub(super) const SERVER: &str = "real";
/// Commands that start at once. With 50 gVisor's shim locks itself up, with and without the guard: its reaper tells
/// every exit to everybody who waits for one, and each listens to the first 32 only.
const EXEC_CROWD: usize = 10;
const EXEC_ROUNDS: usize = 8;

/// SIGWINCH, which nobody minds.
const WINDOW_CHANGED: u32 = 28;

/// One sandbox of the two.
struct Side {
    id: String,
    socket: PathBuf,
}

impl Side {
    fn start(stage: &Stage<'_>, handler: &str) -> Result<Self> {
        let (host, ctr) = (stage.host, stage.host.ctr());
        let id = format!("latency-{handler}");
        ctr.start(&host.handler(handler)?, &id, &["sleep", "100000"])?;
        Ok(Self { socket: host.shim_socket(ctr.namespace(), &id)?, id })
    }

    /// None of them changes the container. (runsc takes signal 0 for an unknown one and tries for a second.)
    fn frame(&self, method: &str) -> Result<Vec<u8>> {
        let id = self.id.clone();
        match method {
            "State" => request(0, TASK, method, &api::StateRequest { id, ..Default::default() }),
            "Pids" => request(0, TASK, method, &api::PidsRequest { id, ..Default::default() }),
            "Stats" => request(0, TASK, method, &api::StatsRequest { id, ..Default::default() }),
            "Kill" => request(
                0,
                TASK,
                method,
                &api::KillRequest { id, signal: WINDOW_CHANGED, ..Default::default() },
            ),
            "Connect" => request(0, TASK, method, &api::ConnectRequest { id, ..Default::default() }),
            _ => request(0, TASK, method, &api::CloseIORequest { id, stdin: true, ..Default::default() }),
        }
    }
}

/// Methods with what a figure calls them, and whether runsc is run for them.
const METHODS: [(&str, &str, bool); 6] = [
    ("Connect", "Connect", false),
    ("CloseIO", "CloseIO", false),
    ("State", "State", true),
    ("Pids", "Pids", true),
    ("Stats", "Stats", true),
    ("Kill", "Kill, SIGWINCH", true),
];

pub(crate) fn measure(stage: &Stage<'_>, effort: &Effort) -> Result<Vec<Figure>> {
    let sides = [Side::start(stage, "unguarded")?, Side::start(stage, "guarded")?];
    let guard = guard(stage.host, &sides[1].id).context("no guard")?;
    let mut figures = Vec::new();
    for in_flight in [1, CROWD] {
        for (method, what, slow) in METHODS {
            stage.say(format_args!("latency: real {what}, {in_flight} at once"));
            let count = match (slow, in_flight) {
                (false, _) => effort.quick,
                (true, 1) => effort.slow,
                (true, _) => CROWD,
            };
            // A crowd is served one by one where runsc is run: a second per block.
            let blocks = if slow && in_flight > 1 { effort.blocks / 5 } else { effort.blocks };
            let before = Cost::so_far(&guard)?;
            let [direct, through] = both(&sides, method, [blocks, count, in_flight])
                .with_context(|| format!("{what}, {in_flight} at once"))?;
            let cost = Cost::so_far(&guard)?.since(before, blocks * count);
            figures.push(Figure { server: SERVER, what, in_flight, direct, through, cost: Some(cost) });
        }
        figures.extend(execs(stage, effort, &sides, &guard, in_flight)?);
    }
    sides.iter().try_for_each(|side| stage.host.ctr().remove(&side.id))?;
    Ok(figures)
}

fn both(sides: &[Side; 2], method: &str, [blocks, count, in_flight]: [usize; 3]) -> Result<[Way; 2]> {
    let mut askers = [Asker::connect(&sides[0].socket)?, Asker::connect(&sides[1].socket)?];
    let mut frames = [sides[0].frame(method)?, sides[1].frame(method)?];
    let mut ways = [Way::default(), Way::default()];
    for (asker, frame) in askers.iter_mut().zip(&mut frames) {
        asker.ask(frame)?;
    }
    for block in 0..blocks {
        let mut of_block = [Vec::new(), Vec::new()];
        let rounds = if in_flight > 1 { 1 } else { count };
        for round in 0..rounds {
            for turn in 0..2 {
                let at = (block + round + turn) % 2;
                match in_flight {
                    1 => of_block[at].push(askers[at].ask(&mut frames[at])?),
                    _ => of_block[at] = askers[at].ask_many(&mut frames[at], count, in_flight)?,
                }
            }
        }
        for (way, block) in ways.iter_mut().zip(of_block) {
            way.0.push(block);
        }
    }
    Ok(ways)
}

fn execs(
    stage: &Stage<'_>,
    effort: &Effort,
    sides: &[Side; 2],
    guard: &Process,
    in_flight: usize,
) -> Result<[Figure; 2]> {
    let in_flight = in_flight.min(EXEC_CROWD);
    stage.say(format_args!("latency: real Exec, {in_flight} at once"));
    let blocks = if in_flight == 1 { effort.blocks } else { EXEC_ROUNDS };
    let mut ways = [(); 4].map(|()| Way::default());
    let before = Cost::so_far(guard)?;
    for block in 0..blocks {
        for turn in 0..2 {
            let at = (block + turn) % 2;
            let runs = crowd(&sides[at], block, in_flight)?;
            ways[at].0.push(runs.iter().map(|run| run.whole).collect());
            ways[2 + at].0.push(runs.iter().map(|run| run.told).collect());
        }
    }
    let cost = Some(Cost::so_far(guard)?.since(before, blocks * in_flight));
    let [whole_direct, whole, told_direct, told] = ways;
    let figure =
        |what, direct, through, cost| Figure { server: SERVER, what, in_flight, direct, through, cost };
    Ok([
        figure("Exec, start to exit", whole_direct, whole, cost),
        figure("exit to Wait's answer", told_direct, told, None),
    ])
}

/// Each on a connection of its own.
fn crowd(side: &Side, block: usize, in_flight: usize) -> Result<Vec<exec::Exec>> {
    let one = |number: usize| -> Result<exec::Exec> {
        let mut asker = Asker::connect(&side.socket)?;
        exec::run(&mut asker, &side.id, &format!("x-{in_flight}-{block}-{number}"))
            .with_context(|| format!("{}, exec {number} of {in_flight}", side.id))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..in_flight).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}
