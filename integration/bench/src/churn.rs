//! Sandboxes that live for a second: an agent's, a CI's. As many at once as keep the processors busy, since each of them
//! waits for most of its life: how many a node makes in a minute, and whether anything of them stays with it.

use crate::{
    budget::{self, Finding},
    memory::weight::{GUARD, REAL_SHIM, Weight, running},
    nodes::{Node, Side},
    section::{Section, Stage},
    stats::{median, median_interval},
    subject::{self, LIMIT},
    table::Table,
};
use anyhow::{Context as _, Result, anyhow};
use harness::{eventually, leaks::Resources, process::Process, traces::hierarchies};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a pod is used.
const USED: Duration = Duration::from_secs(1);
/// Pods at once for each processor. A life is a second of use and some half a second of work: one after the other would
/// leave the processor idle for most of it, and then measure the second.
const AT_ONCE: usize = 4;
/// Rounds at most: a ratio has its interval from six on, and these take ten minutes.
const MOST: usize = 6;
/// How long the shims of the last pods may take to go.
const LEAVING: Duration = Duration::from_secs(20);

/// One turn of one side.
#[derive(Clone, Copy, Debug)]
struct Turn {
    pods: usize,
    pods_per_minute: f64,
    /// Of a processor, by everybody who has a part in it: containerd, shims, commands, the sandbox.
    ms_per_pod: f64,
    /// What there is more of afterwards than there was before.
    containerd_kib: i64,
    node_kib: i64,
    left: i64,
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let (rounds, window) = if stage.options.check { (1, 15) } else { (stage.options.pairs.min(MOST), 50) };
    let mut sides: BTreeMap<Side, Vec<Turn>> = BTreeMap::new();
    let mut number = AtomicUsize::new(0);
    for round in 0..rounds {
        for node in stage.pair(round) {
            let turn = turn(node, &mut number, Duration::from_secs(window))?;
            let (name, rate, each) = (node.side.name(), turn.pods_per_minute, turn.ms_per_pod);
            stage.say(format_args!(
                "churn, {name}, round {round}: {rate:.1} pods per minute, {each:.0} ms each"
            ));
            sides.entry(node.side).or_default().push(turn);
        }
    }
    Ok(section(stage, &sides))
}

fn turn(node: &Node<'_>, number: &mut AtomicUsize, window: Duration) -> Result<Turn> {
    let containerd = node.host.containerd()?;
    let account = Account::open(node, &containerd)?;
    let before = (Weight::of(&containerd)?.uss, node_in_use()?, Resources::of(node.host));
    let spent = account.milliseconds()?;
    let (first, began) = (*number.get_mut(), Instant::now());
    let hands = AT_ONCE * thread::available_parallelism().map_or(2, usize::from);
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
    let took = began.elapsed();
    eventually(LEAVING, "the shims leave", || {
        (running(node.host, GUARD).is_empty() && running(node.host, REAL_SHIM).is_empty()).then_some(())
    })?;
    let spent = account.milliseconds()? - spent;
    let left = Resources::of(node.host).since(&before.2);
    let pods = number.load(Ordering::Relaxed) - first;
    Ok(Turn {
        pods,
        pods_per_minute: pods as f64 * 60.0 / took.as_secs_f64(),
        ms_per_pod: spent / pods as f64,
        containerd_kib: Weight::of(&containerd)?.uss as i64 - before.0 as i64,
        node_kib: node_in_use()? - before.1,
        left: count(&left) as i64,
    })
}

/// What a host's processes have used of the processors: its containerd, and so every shim and command, is put beside the
/// host's sandboxes, and their common cgroup remembers those that have ended. Other work on the machine is not in it.
struct Account(PathBuf);

impl Account {
    fn open(node: &Node<'_>, containerd: &Process) -> Result<Self> {
        let counts = |hierarchy: &PathBuf| {
            ["cpuacct.usage", "cgroup.controllers"].map(|file| hierarchy.join(file).exists())
        };
        let hierarchies = hierarchies();
        let [old, new] = [0, 1].map(|which| hierarchies.iter().find(|hierarchy| counts(hierarchy)[which]));
        let host = old.or(new).context("no cgroup counts processor time")?.join(node.host.tag());
        let folder = host.join("containerd");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup.procs"), containerd.pid.to_string())?;
        Ok(Self(host))
    }

    fn milliseconds(&self) -> Result<f64> {
        if let Ok(text) = fs::read_to_string(self.0.join("cpuacct.usage")) {
            return Ok(text.trim().parse::<f64>()? / 1e6);
        }
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(used.context("no usage")?.trim().parse::<f64>()? / 1e3)
    }
}

/// Memory of the whole machine that nobody could have now, in KiB: what other processes take is in it.
pub(crate) fn node_in_use() -> Result<i64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| -> Result<i64> {
        let line = text.lines().find(|line| line.starts_with(name)).with_context(|| name.to_owned())?;
        Ok(line.split_ascii_whitespace().nth(1).context("no number")?.parse()?)
    };
    Ok(kib("MemTotal:")? - kib("MemAvailable:")?)
}

fn life(node: &Node<'_>, number: usize) -> Result<()> {
    let (pod, containers) = subject::start(node, &format!("{}-churn-{number}", node.side.name()), 1)?;
    let began = Instant::now();
    node.cri.exec(containers.last().context("no container")?, &["true"], LIMIT)?;
    thread::sleep(USED.saturating_sub(began.elapsed()));
    node.cri.end_pod(&pod)
}

/// Processes, mounts (network namespaces are some), cgroups, runsc's files, bundles, sockets, and files of guards.
fn count(left: &Resources) -> usize {
    let Resources { processes, mounts, cgroups, runsc, bundles, sockets, guard_files } = left;
    processes.len()
        + [mounts, cgroups, runsc, bundles, sockets, guard_files].map(|of| of.len()).iter().sum::<usize>()
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
        ("ms of a processor per pod", |turn| turn.ms_per_pod),
        ("containerd's USS, KiB more", |turn| turn.containerd_kib as f64),
        ("the machine's memory in use, KiB more", |turn| turn.node_kib as f64),
        ("processes, mounts, cgroups, files more", |turn| turn.left as f64),
    ] {
        table.row([name.to_owned(), show(of(Side::Unguarded, what)), show(of(Side::Guarded, what))]);
    }
    let ratio = median(&ratios).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    table
        .notes
        .push(format!("pods of one container, each used for a second, {AT_ONCE} at once for each processor; guarded over unguarded {ratio}"));
    let inverse: Vec<f64> = ratios.iter().map(|ratio| 1.0 / ratio).collect();
    let limit = 1.0 / budget::CHURN;
    let finding =
        stage.options.judge().ratio("churn, unguarded over guarded", median_interval(&inverse), limit);
    let json = |turn: &Turn| {
        let Turn { pods, pods_per_minute, ms_per_pod, containerd_kib, node_kib, left } = turn;
        json!({
            "pods": pods, "pods_per_minute": pods_per_minute, "ms_per_pod": ms_per_pod, "containerd_kib_more": containerd_kib, "node_kib_more": node_kib,
            "left_more": left,
        })
    };
    let all = sides.iter().map(|(side, turns)| (side.name().to_owned(), turns.iter().map(json).collect()));
    Section {
        tables: vec![table],
        json: serde_json::Value::Object(all.collect()),
        findings: vec![finding, left_finding(sides), containerd_finding(sides)],
        ..Section::default()
    }
}

/// Of no turn anything may be left.
fn left_finding(sides: &BTreeMap<Side, Vec<Turn>>) -> Finding {
    let left: i64 = sides.get(&Side::Guarded).into_iter().flatten().map(|turn| turn.left).sum();
    Finding { what: "churn, left behind".to_owned(), text: format!("{left}, at most 0"), held: left == 0 }
}

/// What containerd has grown by in the turns after the first, which fills its caches. Where it grows by itself, a guarded one
/// may by as much for each pod.
fn containerd_finding(sides: &BTreeMap<Side, Vec<Turn>>) -> Finding {
    let grown = |side| {
        let turns = || sides.get(&side).into_iter().flatten().skip(1);
        let kib: i64 = turns().map(|turn| turn.containerd_kib).sum();
        (kib, turns().map(|turn| turn.pods).sum::<usize>() as i64)
    };
    let ((kib, pods), (unguarded, of)) = (grown(Side::Guarded), grown(Side::Unguarded));
    let limit = budget::CHURN_KIB.max(unguarded * pods / of.max(1));
    Finding {
        what: "churn, containerd's memory".to_owned(),
        text: format!("{kib} KiB more after {pods} pods, unguarded {unguarded} after {of}, at most {limit}"),
        held: kib <= limit,
    }
}
