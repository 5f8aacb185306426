//! What must be true when it is over.

use super::{Bench, Cell, Fault, Part, victim::Victim};
use harness::{EventLog, eventually, leaks::Resources, traces::entries};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

/// How long the last traces may take to go: the guard's own process, containerd's bundle.
const LAST_TRACES: Duration = Duration::from_secs(5);
/// Looking costs as much as a container's start.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long an event may be on its way to its subscriber.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// The exits that were published of a cell's processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// Processes whose start was published.
    pub started: usize,
    /// Exits published in all.
    pub published: usize,
}

/// What containerd's subscribers were told of one process.
#[derive(Debug, Default)]
struct Told {
    exec: bool,
    started: bool,
    /// Pid, status and time of each exit.
    exits: Vec<(u64, u64, String)>,
    /// Of those, containerd's own: it publishes what `delete` answered, with a `/tasks/delete`, which gVisor's
    /// shim never sends, where it has not seen a Delete succeed itself (core/runtime/v2/shim.go,
    /// cleanupAfterDeadShim).
    containerds: usize,
    early: bool,
}

/// Everything that was said of the victim's processes so far; later logs continue earlier ones.
fn told(logs: &[EventLog], ids: &[String]) -> BTreeMap<(String, String), Told> {
    let mut all: BTreeMap<(String, String), Told> = BTreeMap::new();
    let events = logs.iter().flat_map(EventLog::all);
    for event in events.filter(|event| ids.iter().any(|id| id == event.text("container_id"))) {
        let container = event.text("container_id").to_owned();
        match event.topic.as_str() {
            "/tasks/start" => all.entry((container.clone(), container)).or_default().started = true,
            "/tasks/exec-started" => {
                let told = all.entry((container, event.text("exec_id").to_owned())).or_default();
                (told.started, told.exec) = (true, true);
            }
            "/tasks/exit" => {
                let process = event.text("id").to_owned();
                let exec = process != container;
                let told = all.entry((container, process)).or_default();
                told.exec = exec;
                told.early |= !told.started;
                let at = event.body.get("exited_at").map(Value::to_string).unwrap_or_default();
                told.exits.push((event.number("pid"), event.number("exit_status"), at));
            }
            "/tasks/delete" => all.entry((container.clone(), container)).or_default().containerds += 1,
            _ => {}
        }
    }
    all
}

/// What is wrong with what was said of one process.
fn wrong(cell: &Cell, told: &Told) -> Option<String> {
    let distinct: BTreeSet<_> = told.exits.iter().collect();
    let guards = told.exits.len().saturating_sub(told.containerds);
    if guards > 1 || distinct.len() > 1 {
        return Some(format!("{} of containerd's own among the exits {:?}", told.containerds, told.exits));
    }
    // While containerd is away nobody can subscribe; the exit of an exec is known to its guard alone.
    let excused = cell.fault.takes_containerd() || (cell.fault == Fault::Killed(Part::Guard) && told.exec);
    let missing = told.started && told.exits.is_empty() && !excused;
    missing.then(|| "started, and no exit was published".to_owned())
}

/// Waits until every exit that is due was published, and says what is wrong with what was.
pub(super) fn exits(cell: &Cell, logs: &[EventLog], ids: &[String]) -> (Exits, Vec<String>) {
    // What is missing then is what is wrong below.
    let _ = eventually(ON_ITS_WAY, "every exit", || {
        told(logs, ids).values().all(|told| wrong(cell, told).is_none()).then_some(())
    });
    let all = told(logs, ids);
    let exits = Exits {
        started: all.values().filter(|told| told.started).count(),
        published: all.values().map(|told| told.exits.len()).sum(),
    };
    // Of an exec that ends at once gVisor's own shim says so now and then (scenarios, `events`).
    let early = |told: &Told| told.early && told.started && !told.exec;
    let wrong = all
        .iter()
        .filter_map(|((container, process), told)| {
            let wrong = wrong(cell, told).or_else(|| early(told).then(|| "exit before start".to_owned()))?;
            Some(format!("{container}/{process}: {wrong}"))
        })
        .collect();
    (exits, wrong)
}

/// The signs by which the guard has found this victim hung, of each report that it wrote, and how long it had waited.
pub(super) fn reports(victim: &Victim<'_>) -> Vec<(String, Duration)> {
    let all = entries(&victim.bench().host().path().join("reports"));
    let its = all.into_iter().filter(|path| path.to_string_lossy().contains(victim.sandbox()));
    let read = |path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap_or_default());
    let told = |report: Value| {
        let waited = report["waited_ms"].as_u64().unwrap_or_default();
        (report["sign"].to_string(), Duration::from_millis(waited))
    };
    its.map(|path| read(path).map_or_else(|error| (error.to_string(), Duration::ZERO), told)).collect()
}

/// Names of what belongs to this victim among what all hosts of a machine share: the hashes in the addresses
/// of its shims.
pub(super) fn hashes(victim: &Victim<'_>) -> BTreeSet<String> {
    let host = victim.bench().host();
    victim
        .ids()
        .iter()
        .filter_map(|id| {
            let socket = host.shim_socket(victim.ctr().namespace(), id).ok()?;
            Some(socket.file_name()?.to_string_lossy().into_owned())
        })
        .collect()
}

/// What is left of the victim, once it has had time to go.
pub(super) fn residue(bench: &Bench, hashes: &BTreeSet<String>) -> Resources {
    let began = Instant::now();
    loop {
        let mut left = bench.residue();
        let mine = |path: &std::path::PathBuf| {
            let text = path.to_string_lossy();
            hashes.iter().any(|hash| text.contains(hash))
        };
        left.sockets.retain(mine);
        left.guard_files.retain(mine);
        if left.is_empty() || began.elapsed() >= harness::patience(LAST_TRACES) {
            return left;
        }
        thread::sleep(LOOK_AGAIN);
    }
}
