//! What a version could make different and no cell of the matrix shows: containers that live on beside one that ends,
//! Stats, and the operator's own drill.

use super::line::{Line, flat};
use crate::matrix::{Bench, Cell, Deadlines, Fault, Request, Subject, bench::HANDLER, lanes::Plan};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, LATER, PodContainer, SHORTLY, SOON, eventually,
    leaks::assert_gone,
    usage::{BothWays, await_direct},
};
use std::{
    fmt,
    process::Command,
    time::{Duration, Instant},
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// One container of a pod ends while its `runsc delete` hangs: it goes on time, and the others live on.
    OneOfAPod,
    /// The guard's own Stats are those of gVisor's shim, field by field.
    Stats,
    /// `runsc-guard drill` keeps its promise.
    Drill,
}

/// Comparisons of each container's Stats; each is three answers.
const COMPARISONS: usize = 5;
/// Forks, and fills and frees pages.
const BUSY: [&str; 3] = ["sh", "-c", "while :; do ls -l /bin /proc > /tmp/x; done"];
const IDLE: [&str; 2] = ["sleep", "100000"];

impl Beside {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OneOfAPod, Self::Stats, Self::Drill];

    fn run(self, bench: &Bench) -> Result<String> {
        match self {
            Self::OneOfAPod => one_of_a_pod(bench),
            Self::Stats => stats(bench),
            Self::Drill => drill(bench),
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OneOfAPod => "one of a pod, `runsc delete` hangs",
            Self::Stats => "Stats by both ways",
            Self::Drill => "drill",
        })
    }
}

/// Runs them one after the other on a host of their own.
pub(super) fn run(plan: &Plan<'_>, wanted: &[Beside], tell: impl Fn(&Line)) -> Result<Vec<Line>> {
    let mut bench = Bench::start(plan.parts, plan.guarded)?;
    plan.interrupt.register(bench.host())?;
    let lines = wanted.iter().map(|beside| one(&mut bench, *beside, &tell)).collect::<Result<Vec<_>>>();
    let untouched = bench.assert_neighbour_untouched();
    // Whatever has failed: who interrupts a run would know this host forever.
    let ended = bench.host().end();
    plan.interrupt.forget(bench.host());
    ended.and(untouched).and(lines)
}

fn one(bench: &mut Bench, beside: Beside, tell: impl Fn(&Line)) -> Result<Line> {
    let outcome = beside.run(bench).and_then(|text| nothing_left(bench).map(|()| text));
    let line = match outcome {
        Ok(text) => Line { column: beside.to_string(), green: true, text, why: String::new() },
        Err(error) => {
            let why = flat(&format!("{error:#}"));
            Line { column: beside.to_string(), green: false, text: "**RED**".to_owned(), why }
        }
    };
    tell(&line);
    // What it has left must not be taken for the next one's.
    bench.sweep()?;
    Ok(line)
}

/// The handler of a healthy sandbox, but for its `kill_deadline`, which is the drill's to wait for.
fn configure(bench: &Bench) -> Result<Handler> {
    let cell = Cell {
        fault: Fault::None,
        request: Request::None,
        subject: Subject::Pod,
        deadlines: Deadlines::Defaults,
    };
    let handler = bench.configure(&cell)?.guard("kill_deadline", "\"2s\"");
    bench.host().add_handler(&handler)?;
    Ok(handler)
}

fn nothing_left(bench: &Bench) -> Result<()> {
    let mut left = String::new();
    let gone = eventually(SHORTLY, "nothing is left", || {
        let residue = bench.residue();
        left = residue.to_string();
        residue.is_empty().then_some(())
    });
    gone.with_context(|| left)
}

fn well(bench: &Bench, container: &PodContainer) -> Result<()> {
    let said = bench.cri().exec(container, &["echo", "well"], LATER)?;
    ensure!(said.stdout == b"well\n", "{} says {said:?}", container.id);
    Ok(())
}

fn one_of_a_pod(bench: &Bench) -> Result<String> {
    configure(bench)?;
    let cri = bench.cri();
    let pod = cri.run_pod(HANDLER, "one-of-a-pod")?;
    let stays = cri.run_container(&pod, "stays", &IDLE)?;
    let goes = cri.run_container(&pod, "goes", &IDLE)?;
    bench.gate().hang("delete")?;
    let promise = Deadlines::Short.promise(Fault::Hangs("delete"), Subject::Pod);
    let began = Instant::now();
    cri.stop_container(&goes, 0, LATER)?;
    cri.remove_container(&goes, LATER)?;
    let took = began.elapsed();
    ensure!(bench.gate().has_met(&["delete"]), "its `runsc delete` did not hang");
    ensure!(took <= promise, "late: {took:.1?} instead of {promise:.1?}");
    assert_gone(bench.host(), &goes.id, SOON)?;
    well(bench, &stays)?;
    bench.gate().clear()?;
    cri.end_pod(&pod)?;
    Ok(format!("{:.1} s", took.as_secs_f64()))
}

fn stats(bench: &Bench) -> Result<String> {
    let handler = configure(bench)?;
    let (host, cri, ctr) = (bench.host(), bench.cri(), bench.host().ctr());
    ctr.start(&handler, "stats-alone", &BUSY)?;
    let pod = cri.run_pod(HANDLER, "stats")?;
    let busy = cri.run_container(&pod, "busy", &BUSY)?;
    let all = [
        (ctr.namespace(), "stats-alone", "stats-alone"),
        ("k8s.io", pod.id.as_str(), pod.id.as_str()),
        ("k8s.io", pod.id.as_str(), busy.id.as_str()),
    ];
    for (namespace, sandbox, id) in all {
        await_direct(host, namespace, sandbox, id)?;
        BothWays::to(host, namespace, id)?.hold(COMPARISONS)?;
    }
    ctr.remove("stats-alone")?;
    cri.end_pod(&pod)?;
    Ok(format!("{} equal", all.len() * COMPARISONS))
}

fn drill(bench: &Bench) -> Result<String> {
    configure(bench)?;
    let host = bench.host();
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    command.args(["drill", "--address"]).arg(host.socket());
    command.args(["--handler", HANDLER, "--via", "cri", "-o", "json"]);
    let outcome = harness::run(&mut command, b"", 3 * SOON)?;
    ensure!(outcome.success(), "{outcome:?}");
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).context("not JSON")?;
    ensure!(told["kept"] == true, "{told}");
    let ended = Duration::from_millis(told["ended_ms"].as_u64().context("not ended")?);
    Ok(format!("{:.1} s", ended.as_secs_f64()))
}
