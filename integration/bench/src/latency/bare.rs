//! The bare way of a request: no runsc, no gVisor, a server that answers at once.
//!
//! *On one core* all four processes share one, so that a request costs what it costs the processor, which is the same on
//! every run: this is the figure to compare two guards by. Otherwise who asks and who answers each have a core of their own,
//! as on a node, and what is between them may run on either: waking an idle core is most of the time that is seen. (Left
//! alone they sometimes share one, and then a direct request takes 8 us instead of 70, and one through anything 70.)

use super::{
    affinity::Pinned,
    client::Asker,
    cost::Cost,
    effort::{CROWD, Effort},
    figure::{Figure, Way},
    stand_in::{Relay, SHIM, write_shim},
};
use crate::section::Stage;
use anyhow::{Context as _, Result};
use containerd_shim_protos::api;
use harness::{
    Handler, eventually,
    faults::guard,
    process::Process,
    wire::{TASK, request},
};
use std::{path::PathBuf, time::Duration};

/// How its figures are called.
pub(crate) const SERVER: &str = "bare";
pub(crate) const ONE_CORE: &str = "bare, on one core";
pub(crate) const FORWARDED: &str = "CloseIO, forwarded";
pub(crate) const RELAYED: &str = "CloseIO, relayed";
pub(crate) const ANSWERED: &str = "Connect, answered";

/// Directly, through a relay, through the guard: in turn, one at a time and in a crowd.
pub(crate) fn measure(stage: &Stage<'_>, effort: &Effort) -> Result<Vec<Figure>> {
    let (host, ctr) = (stage.host, stage.host.ctr());
    let shim = write_shim(host.path())?;
    // Nothing ever exits there, so that its end is always the guard's work.
    let handler = Handler::guarded(SHIM).real_shim(shim).guard("kill_deadline", "\"1s\"");
    host.add_handler(&handler)?;
    ctr.start(&handler, SHIM, &["sleep"])?;
    let guard = guard(host, SHIM).context("no guard")?;
    let is_it = |process: &Process| process.args.get(1).is_some_and(|arg| arg == SHIM);
    let shim =
        eventually(Duration::from_secs(10), "the bare shim", || host.processes().into_iter().find(is_it))?;
    // In its working folder, which the guard gave it.
    let past = PathBuf::from(format!("/proc/{}/cwd/shim.sock", shim.pid));
    let relay_socket = host.path().join("relay.sock");
    let relaying = Relay::start(&relay_socket, &past)?;
    let through = host.shim_socket(ctr.namespace(), SHIM)?;
    let (mut direct, mut relay, mut guarded) =
        (Asker::connect(&past)?, Asker::connect(&relay_socket)?, Asker::connect(&through)?);
    let (me, relay_itself) = (Process::me()?, relaying.process()?);

    let id = SHIM.to_owned();
    let close = api::CloseIORequest { id: id.clone(), stdin: true, ..Default::default() };
    let connect = api::ConnectRequest { id, ..Default::default() };
    let mut close = request(0, TASK, "CloseIO", &close)?;
    let mut connect = request(0, TASK, "Connect", &connect)?;
    let mut figures = Vec::new();
    for (server, in_flight) in [(ONE_CORE, 1), (SERVER, 1), (SERVER, CROWD)] {
        stage.say(format_args!("latency: {server}, {in_flight} at once"));
        let _pinned = match (server, in_flight) {
            (ONE_CORE, _) => Some(Pinned::to(&[(&me, 0), (&guard, 0), (&relay_itself, 0), (&shim, 0)])?),
            (_, 1) => Some(Pinned::to(&[(&me, 0), (&shim, 1)])?),
            _ => None,
        };
        let ask = |ways: [&mut Asker; 3], frame: &mut [u8]| in_turn(ways, frame, effort, in_flight);
        let ways = [&mut direct, &mut relay, &mut guarded];
        let before = Cost::so_far(&guard)?;
        let [by_itself, relayed, forwarded] = ask(ways, &mut close)?;
        let halfway = Cost::so_far(&guard)?;
        let [asked, _, answered] = ask([&mut direct, &mut relay, &mut guarded], &mut connect)?;
        let after = Cost::so_far(&guard)?;
        let each = effort.blocks * effort.quick;
        let figure = |what, direct: &Way, through, cost| Figure {
            server,
            what,
            in_flight,
            direct: direct.clone(),
            through,
            cost,
        };
        figures.extend([
            figure(RELAYED, &by_itself, relayed, None),
            figure(FORWARDED, &by_itself, forwarded, Some(halfway.since(before, each))),
            figure(ANSWERED, &asked, answered, Some(after.since(halfway, each))),
        ]);
    }
    drop((direct, relay, guarded));
    ctr.remove(SHIM)?;
    Ok(figures)
}

/// Each block asks each way equally often: one by one in turn, who begins changing; a crowd cannot take turns so fine.
fn in_turn(
    mut ways: [&mut Asker; 3],
    frame: &mut [u8],
    effort: &Effort,
    in_flight: usize,
) -> Result<[Way; 3]> {
    let mut seconds = [(); 3].map(|()| Way::default());
    // The first of a connection finds nothing warm.
    for way in &mut ways {
        way.ask_many(frame, CROWD, in_flight)?;
    }
    for block in 0..effort.blocks {
        if in_flight > 1 {
            for turn in 0..3 {
                let at = (block + turn) % 3;
                seconds[at].0.push(ways[at].ask_many(frame, effort.quick, in_flight)?);
            }
            continue;
        }
        let mut of_block = [(); 3].map(|()| Vec::with_capacity(effort.quick));
        for number in 0..effort.quick {
            for turn in 0..3 {
                let at = (number + turn) % 3;
                of_block[at].push(ways[at].ask(frame)?);
            }
        }
        for (way, block) in seconds.iter_mut().zip(of_block) {
            way.0.push(block);
        }
    }
    Ok(seconds)
}
