//! Both sides as they are: the same question to a sandbox under gVisor's shim and to one under the guard. And to the first
//! through a relay, where the guard passes on what runs no program: what the relay adds, any process in between would.

use super::{
    client::Asker,
    cost::Cost,
    effort::{CROWD, Effort},
    exec,
    figure::{Figure, Way},
    stand_in::Relay,
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
pub(super) const FORWARDED: &str = "CloseIO";
pub(super) const RELAYED: &str = "CloseIO, relayed";
pub(super) const EXEC: &str = "Exec, start to exit";
pub(super) const EXIT: &str = "exit to Wait's answer";
/// Commands that start at once. With 50 gVisor's shim locks itself up, with and without the guard: its reaper tells
/// every exit to everybody who waits for one, and each listens to the first 32 only.
const EXEC_CROWD: usize = 10;
const EXEC_ROUNDS: usize = 8;

/// SIGWINCH, which nobody minds.
const WINDOW_CHANGED: u32 = 28;

/// One of the two sandboxes, and by which socket it is asked.
struct Side {
    id: String,
    socket: PathBuf,
    /// Told apart by it, execs of one container have names of their own.
    way: &'static str,
}

impl Side {
    fn start(stage: &Stage<'_>, handler: &str) -> Result<Self> {
        let (host, ctr) = (stage.host, stage.host.ctr());
        let id = format!("latency-{handler}");
        ctr.start(&host.handler(handler)?, &id, &["sleep", "100000"])?;
        Ok(Self { socket: host.shim_socket(ctr.namespace(), &id)?, id, way: "plain" })
    }

    /// The same sandbox, asked through a relay.
    fn relayed(&self, stage: &Stage<'_>) -> Result<(Self, Relay)> {
        let socket = stage.host.path().join("relay-real.sock");
        let relay = Relay::start(&socket, &self.socket)?;
        Ok((Self { id: self.id.clone(), socket, way: "relayed" }, relay))
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

/// Methods with what a figure calls them, directly and relayed, and whether runsc is run for them.
const METHODS: [(&str, [&str; 2], bool); 6] = [
    ("Connect", ["Connect", "Connect, relayed"], false),
    ("CloseIO", [FORWARDED, RELAYED], false),
    ("State", ["State", "State, relayed"], true),
    ("Pids", ["Pids", "Pids, relayed"], true),
    ("Stats", ["Stats", "Stats, relayed"], true),
    ("Kill", ["Kill, SIGWINCH", "Kill, relayed"], true),
];

pub(crate) fn measure(stage: &Stage<'_>, effort: &Effort) -> Result<Vec<Figure>> {
    let [unguarded, guarded] = [Side::start(stage, "unguarded")?, Side::start(stage, "guarded")?];
    let (relayed, _relay) = unguarded.relayed(stage)?;
    let sides = [unguarded, relayed, guarded];
    let guard = guard(stage.host, &sides[2].id).context("no guard")?;
    let mut figures = Vec::new();
    for in_flight in [1, CROWD] {
        for (method, [what, relayed], slow) in METHODS {
            stage.say(format_args!("latency: real {what}, {in_flight} at once"));
            let count = match (slow, in_flight) {
                (false, _) => effort.quick,
                (true, 1) => effort.slow,
                (true, _) => CROWD,
            };
            // A crowd is served one by one where runsc is run: a second per block.
            let blocks = if slow && in_flight > 1 { effort.blocks / 5 } else { effort.blocks };
            let before = Cost::so_far(&guard)?;
            let [direct, by_relay, through] = all(&sides, method, [blocks, count, in_flight])
                .with_context(|| format!("{what}, {in_flight} at once"))?;
            let cost = Some(Cost::so_far(&guard)?.since(before, blocks * count));
            let figure = |what, through, cost| {
                let direct = direct.clone();
                Figure { server: SERVER, what, in_flight, direct, through, cost }
            };
            figures.extend([figure(relayed, by_relay, None), figure(what, through, cost)]);
        }
        figures.extend(execs(stage, effort, &sides, &guard, in_flight)?);
    }
    [&sides[0], &sides[2]].into_iter().try_for_each(|side| stage.host.ctr().remove(&side.id))?;
    Ok(figures)
}

fn all(sides: &[Side; 3], method: &str, [blocks, count, in_flight]: [usize; 3]) -> Result<[Way; 3]> {
    let [direct, relayed, guarded] = sides;
    let asker = |side: &Side| -> Result<_> { Ok((Asker::connect(&side.socket)?, side.frame(method)?)) };
    let mut askers = [asker(direct)?, asker(relayed)?, asker(guarded)?];
    let mut ways = [(); 3].map(|()| Way::default());
    for (asker, frame) in &mut askers {
        asker.ask(frame)?;
    }
    for block in 0..blocks {
        let mut of_block = [(); 3].map(|()| Vec::new());
        let rounds = if in_flight > 1 { 1 } else { count };
        for round in 0..rounds {
            for turn in 0..askers.len() {
                let at = (block + round + turn) % askers.len();
                let (asker, frame) = &mut askers[at];
                match in_flight {
                    1 => of_block[at].push(asker.ask(frame)?),
                    _ => of_block[at] = asker.ask_many(frame, count, in_flight)?,
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
    sides: &[Side; 3],
    guard: &Process,
    in_flight: usize,
) -> Result<[Figure; 4]> {
    let in_flight = in_flight.min(EXEC_CROWD);
    stage.say(format_args!("latency: real Exec, {in_flight} at once"));
    let blocks = if in_flight == 1 { effort.execs } else { EXEC_ROUNDS };
    let [mut whole, mut told] = [(); 2].map(|()| [(); 3].map(|()| Way::default()));
    let before = Cost::so_far(guard)?;
    for block in 0..blocks {
        for turn in 0..sides.len() {
            let at = (block + turn) % sides.len();
            let runs = crowd(&sides[at], block, in_flight)?;
            whole[at].0.push(runs.iter().map(|run| run.whole).collect());
            told[at].0.push(runs.iter().map(|run| run.told).collect());
        }
    }
    let cost = Some(Cost::so_far(guard)?.since(before, blocks * in_flight));
    let figure = |what, direct: &Way, through, cost| {
        let direct = direct.clone();
        Figure { server: SERVER, what, in_flight, direct, through, cost }
    };
    let ([direct, relayed, guarded], [told_direct, told_relayed, told_guarded]) = (whole, told);
    Ok([
        figure("Exec, relayed", &direct, relayed, None),
        figure(EXEC, &direct, guarded, cost),
        figure("exit to Wait's answer, relayed", &told_direct, told_relayed, None),
        figure(EXIT, &told_direct, told_guarded, None),
    ])
}

/// Each on a connection of its own.
fn crowd(side: &Side, block: usize, in_flight: usize) -> Result<Vec<exec::Exec>> {
    let one = |number: usize| -> Result<exec::Exec> {
        let mut asker = Asker::connect(&side.socket)?;
        exec::run(&mut asker, &side.id, &format!("x-{}-{in_flight}-{block}-{number}", side.way))
            .with_context(|| format!("{}, exec {number} of {in_flight}", side.id))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..in_flight).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}
