//! One side of the comparison: its containerd, its two sandboxes, its verdict.

use crate::{
    screen::Screen,
    side::{KILL_DEADLINE, Side},
    stage::Stage,
    subject::{self, Kind},
    verdict::{Promise, Verdict},
};
use anyhow::{Context as _, Result, bail};
use harness::{Host, Interrupt, Parts, eventually, leaks::Resources};
use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

/// What the guard's escalation may take after its deadline.
const ESCALATION: Duration = Duration::from_secs(2);
/// How long after containerd's last yes the guard itself may still be there: it leaves last.
const LEAVING: Duration = Duration::from_secs(3);

/// Shows one side, and leaves nothing of it.
pub(crate) fn show(side: Side, parts: Parts, screen: &Screen, interrupt: &Interrupt) -> Result<Verdict> {
    let starting = screen.waiting(side, "start");
    let host = Host::builder().parts(parts).handler(side.handler()).start()?;
    let host = Arc::new(host);
    interrupt.register(&host)?;
    drop(starting);
    screen.say(side, "", "a containerd of its own runs");

    let stage = Stage { side, host: &host, handler: side.name(), screen, interrupt };
    let verdict = judge(&stage);

    let _clearing = screen.waiting(side, "clear");
    let cleared = host.end();
    interrupt.forget(&host);
    let verdict = verdict?;
    cleared?;
    screen.say(side, "", "its containerd and all that was left are cleared away");
    Ok(verdict)
}

fn judge(stage: &Stage<'_>) -> Result<Verdict> {
    let before = Resources::of(stage.host);
    let cases = thread::scope(|scope| {
        let threads = [Kind::Pod, Kind::Container].map(|kind| {
            let case = scope.spawn(move || subject::run(stage, kind).context(kind.name()));
            move || case.join().unwrap_or_else(|_| bail!("{} panicked", kind.name()))
        });
        threads.map(|join| join())
    });
    let mut endings = Vec::new();
    let mut residue = Vec::new();
    for case in cases {
        let (ending, unforgotten) = case?;
        endings.push(ending);
        residue.extend(unforgotten);
    }
    let all_ended = endings.iter().all(|ending| ending.ended.is_some());
    if all_ended {
        let left = leavings(stage.host, &before);
        for line in left.to_string().lines() {
            stage.screen.say(stage.side, "", &format!("left: {line}"));
        }
        residue.extend(words(&left));
    }
    let promise = match stage.side {
        Side::Unguarded => None,
        Side::Guarded => Some(Promise { deadline: KILL_DEADLINE, escalation: ESCALATION }),
    };
    Ok(Verdict { endings, residue: all_ended.then_some(residue), promise })
}

/// What is still there when everything had time to leave.
fn leavings(host: &Host, before: &Resources) -> Resources {
    let mut left = Resources::default();
    // That something stays is the finding, not an error.
    let _ = eventually(LEAVING, "nothing is left", || {
        left = Resources::of(host).since(before);
        left.is_empty().then_some(())
    });
    left
}

fn words(left: &Resources) -> Vec<String> {
    fn count<T>(set: &BTreeSet<T>, one: &str, many: &str) -> Option<String> {
        match set.len() {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        }
    }
    [
        count(&left.processes, "process", "processes"),
        count(&left.mounts, "mount", "mounts"),
        count(&left.cgroups, "cgroup", "cgroups"),
        count(&left.runsc, "runsc file", "runsc files"),
        count(&left.bundles, "bundle", "bundles"),
        count(&left.sockets, "socket", "sockets"),
        count(&left.guard_files, "guard file", "guard files"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
