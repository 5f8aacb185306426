//! A node that is full: what it spends while nothing happens, as [`idle`] has it, for minutes; how much memory it takes; and how
//! all its guarded sandboxes end once they are wedged at once. (Unguarded ones never would.)

use crate::{
    churn,
    idle::{self, Load, Sides},
    nodes::{Node, Side},
    section::{Section, Stage},
    stats::{median, quantile},
    subject,
    table::Table,
};
use anyhow::{Result, anyhow};
use harness::{
    Pod, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long one attempt to stop or remove a pod may take; a kubelet tries again.
const ATTEMPT: Duration = Duration::from_secs(20);
/// And how long all of them may, where each waits for all others' processes.
const LIMIT: Duration = Duration::from_secs(300);
/// Where every container's Stats run a program the processors are busy with that alone.
const SETTLE: Duration = Duration::from_secs(30);

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let options = stage.options;
    let window = Duration::from_secs(60) * u32::try_from(options.minutes)?;
    let load = Load { pods: options.pods, containers: 1, settle: SETTLE, window };
    let (mut sides, mut ends) = (Sides::new(), Vec::new());
    let mut memory = Table::new(["the machine's memory in use", "KiB more per pod"]);
    for node in stage.pair(0) {
        let (before, empty) = (Resources::of(node.host), churn::node_in_use()?);
        let mut in_use = 0;
        let end = |pods: Vec<Pod>| {
            in_use = churn::node_in_use()? - empty;
            match node.side {
                Side::Guarded => wedge(stage, node, &pods).map(|seconds| ends = seconds),
                Side::Unguarded | Side::Grouped => pods.iter().try_for_each(|pod| subject::end(node, pod)),
            }
        };
        let spent = idle::idle(stage, node, load, 0, end)?;
        assert_nothing_left(node.host, &before, LIMIT)?;
        memory.row([node.side.name().to_owned(), (in_use / load.pods as i64).to_string()]);
        sides.entry(node.side).or_default().push(spent);
    }
    let mut section = idle::section(stage, load, &sides);
    // One round has no interval to judge a budget by: its ratio is a figure, not a claim.
    section.findings.clear();
    section.tables.extend([memory, table(&ends)]);
    section.json = json!({ "pods": load.pods, "idle": section.json, "wedged_end_s": ends });
    Ok(section)
}

/// Stops every sentry, has all pods ended at once, as a kubelet does, and says after how many seconds each was removed.
fn wedge(stage: &Stage<'_>, node: &Node<'_>, pods: &[Pod]) -> Result<Vec<f64>> {
    stage.say(format_args!("{} pods wedged at once", pods.len()));
    for pod in pods {
        Sandbox::of(node.host, &pod.id)?.stop_sentry()?;
    }
    let began = Instant::now();
    let end = |pod: &Pod| -> Result<f64> {
        eventually(LIMIT, "the pod is stopped", || node.cri.stop_pod(pod, ATTEMPT).ok())?;
        eventually(LIMIT, "the pod is removed", || node.cri.remove_pod(pod, ATTEMPT).ok())?;
        Ok(began.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let ends: Vec<_> = pods.iter().map(|pod| scope.spawn(move || end(pod))).collect();
        ends.into_iter().map(|end| end.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}

fn table(ends: &[f64]) -> Table {
    let mut table = Table::new(["guarded pods, all wedged at once, s until removed", ""]);
    let show =
        |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
    for (name, seconds) in [
        ("the first", quantile(ends, 0.0)),
        ("half of them", median(ends)),
        ("the last", quantile(ends, 1.0)),
    ] {
        table.row([name.to_owned(), show(seconds)]);
    }
    table.notes.push(
        "every sentry stopped, StopPodSandbox for all at once; kill_deadline is 10 s; nothing left".into(),
    );
    table
}
