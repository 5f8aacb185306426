//! One pod's start and stop, unguarded and guarded, as a picture: what was asked of whom, and which processes ran.
//!
//! All times are the kernel's, from one buffer: processes by the scheduler's trace points, requests by marks that a
//! recorder writes there as it passes them on, the kubelet's steps by marks of this program. Recording costs: a process
//! more at a shim's start, and some microseconds per request. It shows where the time goes, not how much there is.

mod kernel;
mod picture;
pub(crate) mod record;
mod spans;

use crate::{nodes::Side, subject, table::Table};
use anyhow::{Context as _, Result};
use harness::{Cri, Handler, Host, Interrupt, Parts};
use kernel::Tracing;
use record::Recorder;
use spans::{Kind, Span, covered, spans};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

/// Whose start and stop it is.
struct Trace {
    side: Side,
    /// From RunPodSandbox to StartContainer, and StopPodSandbox.
    start: Vec<Span>,
    stop: Vec<Span>,
}

pub(crate) fn run(interrupt: &Interrupt, programs: &Parts, svg: &Path) -> Result<()> {
    let traces = [Side::Unguarded, Side::Guarded]
        .into_iter()
        .map(|side| trace(interrupt, programs, side))
        .collect::<Result<Vec<_>>>()?;
    let acts: Vec<_> = traces
        .iter()
        .flat_map(|trace| [("start", trace.side, &trace.start), ("stop", trace.side, &trace.stop)])
        .collect();
    print!("{}", table(&acts));
    std::fs::write(svg, picture::draw(&acts)).with_context(|| format!("cannot write {}", svg.display()))
}

/// A containerd of its own, whose programs are wrapped.
fn trace(interrupt: &Interrupt, programs: &Parts, side: Side) -> Result<Trace> {
    let tracing = Tracing::start()?;
    let folder = tempfile::tempdir()?;
    let recorder = Recorder::new(folder.path(), tracing.marker())?;
    let mut parts = programs.clone();
    let real_shim = recorder.around_real_shim(&parts.real_shim)?;
    parts.guard = recorder.around_start(&parts.guard)?;
    parts.unguarded_shim = recorder.around_start(&parts.unguarded_shim)?;
    let handler = match side {
        Side::Guarded => Handler::guarded(side.name()).real_shim(real_shim),
        Side::Unguarded | Side::Grouped => Handler::unguarded(side.name()),
    };
    let host = Arc::new(Host::builder().parts(parts).handler(handler).start()?);
    interrupt.register(&host)?;
    let traced = live(&host, side, &tracing);
    let cleared = host.end();
    interrupt.forget(&host);
    let (start, stop) = traced?;
    cleared?;
    Ok(Trace { side, start, stop })
}

fn live(host: &Host, side: Side, tracing: &Tracing) -> Result<(Vec<Span>, Vec<Span>)> {
    const LIMIT: Duration = Duration::from_secs(60);
    let cri: Cri = host.cri()?;
    let name = |number: usize| format!("trace-{number}");
    // Fills caches, as any second pod finds them.
    let node = crate::nodes::Node { side, host, cri: &cri };
    let (warm, _) = subject::start(&node, &name(0), 1)?;
    subject::end(&node, &warm)?;

    let containerd = host.containerd()?.pid;
    let roots = threads(containerd)?;
    let seen = tracing.record(|| {
        let pod = tracing.step("RunPodSandbox", || cri.run_pod(side.name(), &name(1)))?;
        let container = tracing
            .step("CreateContainer", || cri.create_container(&pod, "main", 0, &["sleep", "100000"]))?;
        tracing.step("StartContainer", || cri.start_container(&container))?;
        Ok(pod)
    })?;
    let (pod, start) = (seen.0, spans(&seen.1, &roots));
    let roots = host.processes().iter().flat_map(|process| threads(process.pid)).flatten().collect();
    let ((), stop) = tracing.record(|| {
        tracing.step("StopPodSandbox", || Ok(cri.stop_pod(&pod, LIMIT)?))?;
        Ok(())
    })?;
    cri.remove_pod(&pod, LIMIT)?;
    Ok((start, spans(&stop, &roots)))
}

fn threads(pid: i32) -> Result<BTreeSet<i32>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect())
}

/// How long at least one of each kind was there, and how long none was.
fn table(acts: &[(&str, Side, &Vec<Span>)]) -> Table {
    let mut table = Table::new([
        "one pod of one, ms",
        "in all",
        "shim's start",
        "runsc runs",
        "(commands)",
        "asked of containerd's shim",
        "of the real shim",
        "CNI",
        "nothing of these",
    ]);
    for (act, side, spans) in acts {
        let ms = |wanted: &dyn Fn(&Span) -> bool| {
            let chosen = spans.iter().filter(|span| wanted(span)).map(|span| (span.begin, span.end));
            covered(chosen.collect()) * 1e3
        };
        let of = |kind: Kind| ms(&|span| span.kind == kind);
        let commands = spans.iter().filter(|span| span.kind == Kind::Runsc).count();
        let all = of(Kind::Step);
        let busy = ms(&|span| !matches!(span.kind, Kind::Step | Kind::Sandbox | Kind::Daemon));
        table.row([
            format!("{act}, {}", side.name()),
            format!("{all:.0}"),
            format!("{:.0}", of(Kind::Shim)),
            format!("{:.0}", of(Kind::Runsc)),
            commands.to_string(),
            format!("{:.0}", of(Kind::Asked)),
            format!("{:.0}", of(Kind::Forwarded)),
            format!("{:.0}", of(Kind::Network)),
            format!("{:.0}", all - busy),
        ]);
    }
    table.notes.push("Each as long as at least one of its kind was there; they overlap.".to_owned());
    table
}
