//! What is run against every version of containerd and gVisor: a healthy life, and the wedges and deaths that a
//! version could make different; and what is no cell, [`beside`] them.

mod beside;
mod line;

use super::{Cell, Deadlines, Fault, Part, Request, Subject, lanes::Plan};
use anyhow::Result;
pub use beside::Beside;
pub use line::Line;
use std::thread;

/// A healthy life; a sandbox that is silent; a Create that never returns; a guard that dies; a containerd that dies,
/// comes back to what lives, and then has to end it though it is silent.
pub const TRIALS: [(Fault, Request); 5] = [
    (Fault::None, Request::None),
    (Fault::Stopped(Part::Sentry), Request::None),
    (Fault::CreateStuck, Request::Create),
    (Fault::Killed(Part::Guard), Request::None),
    (Fault::StoppedAfterRestart, Request::None),
];

/// All of it with both subjects.
pub fn cells() -> Vec<Cell> {
    let both = |(fault, request)| {
        // What is healthy may take its time on a busy machine.
        let deadlines = if fault == Fault::None { Deadlines::Defaults } else { Deadlines::Short };
        Subject::ALL.map(|subject| Cell { fault, request, subject, deadlines })
    };
    TRIALS.into_iter().flat_map(both).collect()
}

/// The columns of the table.
pub fn columns() -> Vec<String> {
    let faults = TRIALS.into_iter().map(|(fault, _)| fault.to_string());
    faults.chain(Beside::ALL.map(|beside| beside.to_string())).collect()
}

/// Runs these cells, and what is no cell where the guard is there.
pub fn run(
    plan: &Plan<'_>,
    cells: &[Cell],
    beside: &[Beside],
    tell: impl Fn(&Line) + Sync,
) -> Result<Vec<Line>> {
    let taken: Vec<Cell> = cells.iter().filter(|cell| plan.takes(cell)).copied().collect();
    let (reports, others) = thread::scope(|scope| {
        // On a host of their own, and they wait most of their time as well.
        let others = scope.spawn(|| match plan.guarded && !beside.is_empty() {
            true => beside::run(plan, beside, &tell),
            false => Ok(Vec::new()),
        });
        let reports = plan.run(&taken, |report| tell(&Line::of(report)));
        (reports, others.join())
    });
    let mut lines: Vec<Line> = reports?.iter().map(Line::of).collect();
    lines.extend(others.map_err(|_| anyhow::anyhow!("what runs beside the cells panicked"))??);
    Ok(lines)
}
