//! Sandboxes that live for a second, one after the other by as many hands as there are processors: an agent's, a CI's. How
//! many a node makes in a minute, and whether anything of them stays with it.

use crate::{
    budget,
    memory::weight::Weight,
    nodes::{Node, Side},
    section::{Section, Stage},
    stats::{median, median_interval},
    subject::{self, LIMIT},
    table::Table,
};
use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a pod is used.
const USED: Duration = Duration::from_secs(1);

/// One turn of one side.
#[derive(Clone, Copy, Debug)]
struct Turn {
    pods_per_minute: f64,
    /// What there is more of afterwards than there was before.
    containerd_kib: i64,
    left: i64,
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let (rounds, window) = if stage.options.check { (1, 15) } else { (stage.options.pairs.min(5), 60) };
    let mut sides: BTreeMap<Side, Vec<Turn>> = BTreeMap::new();
    let mut number = AtomicUsize::new(0);
    for round in 0..rounds {
        for node in stage.pair(round) {
            stage.say(format_args!("churn, {}, round {round}", node.side.name()));
            let turn = turn(node, &mut number, Duration::from_secs(window))?;
            sides.entry(node.side).or_default().push(turn);
        }
    }
    Ok(section(stage, &sides))
}

fn turn(node: &Node<'_>, number: &mut AtomicUsize, window: Duration) -> Result<Turn> {
    let containerd = node.host.containerd()?;
    let weigh = || -> Result<(i64, i64)> { Ok((Weight::of(&containerd)?.uss as i64, left(node))) };
    let (before, first, began) = (weigh()?, *number.get_mut(), Instant::now());
    let hands = thread::available_parallelism().map_or(2, usize::from);
    let number = &*number;
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while began.elapsed() < window {
                life(node, number.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..hands).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let (took, after) = (began.elapsed(), weigh()?);
    Ok(Turn {
        pods_per_minute: (number.load(Ordering::Relaxed) - first) as f64 * 60.0 / took.as_secs_f64(),
        containerd_kib: after.0 - before.0,
        left: after.1 - before.1,
    })
}

fn life(node: &Node<'_>, number: usize) -> Result<()> {
    let (pod, containers) = subject::start(node, &format!("{}-churn-{number}", node.side.name()), 1)?;
    let began = Instant::now();
    node.cri.exec(containers.last().context("no container")?, &["true"], LIMIT)?;
    thread::sleep(USED.saturating_sub(began.elapsed()));
    node.cri.end_pod(&pod)
}

/// Cgroups and mounts that carry this host's tag, and runsc's files. Others use this machine's /run as well.
fn left(node: &Node<'_>) -> i64 {
    let tag = node.host.tag();
    let entries = |folder: &Path| fs::read_dir(folder).map_or(0, |entries| entries.flatten().count());
    let named = |folder: &str| -> usize {
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        folders.map(|hierarchy| entries(&hierarchy.path().join(tag))).sum()
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains(tag)).count();
    (named("/sys/fs/cgroup") + mounts + entries(&node.host.runsc_root("k8s.io"))) as i64
}

fn section(stage: &Stage<'_>, sides: &BTreeMap<Side, Vec<Turn>>) -> Section {
    let of = |side, what: fn(&Turn) -> f64| -> Vec<f64> {
        sides.get(&side).into_iter().flatten().map(what).collect()
    };
    let rate = |side| of(side, |turn| turn.pods_per_minute);
    let ratios: Vec<f64> =
        rate(Side::Unguarded).iter().zip(rate(Side::Guarded)).map(|(before, after)| after / before).collect();
    let mut table = Table::new(["churn", "unguarded", "guarded"]);
    let show =
        |values: Vec<f64>| median(&values).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    for (name, what) in [
        ("pods per minute", (|turn| turn.pods_per_minute) as fn(&Turn) -> f64),
        ("containerd's USS, KiB more", |turn| turn.containerd_kib as f64),
        ("cgroups, mounts and files more", |turn| turn.left as f64),
    ] {
        table.row([name.to_owned(), show(of(Side::Unguarded, what)), show(of(Side::Guarded, what))]);
    }
    let ratio = median(&ratios).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    table
        .notes
        .push(format!("pods of one container, each used for a second; guarded over unguarded {ratio}"));
    let inverse: Vec<f64> = ratios.iter().map(|ratio| 1.0 / ratio).collect();
    let limit = 1.0 / budget::CHURN;
    let finding =
        stage.options.judge().ratio("churn, unguarded over guarded", median_interval(&inverse), limit);
    let json = |turn: &Turn| {
        let Turn { pods_per_minute, containerd_kib, left } = turn;
        json!({ "pods_per_minute": pods_per_minute, "containerd_kib_more": containerd_kib, "left_more": left })
    };
    let all = sides.iter().map(|(side, turns)| (side.name().to_owned(), turns.iter().map(json).collect()));
    Section {
        tables: vec![table],
        json: serde_json::Value::Object(all.collect()),
        findings: vec![finding],
        ..Section::default()
    }
}
