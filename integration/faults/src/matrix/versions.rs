//! What is run against every version of containerd and gVisor: a healthy life, and the wedges and deaths that a
//! version could make different; and what is no cell, [`beside`] them.

mod beside;

use super::{Cell, Deadlines, Fault, Part, Report, Request, Subject, lanes::Plan};
use anyhow::Result;
pub use beside::Beside;
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

/// What came of one trial: a column of the table has one or two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of which column.
    pub column: String,
    /// As promised.
    pub green: bool,
    /// What stands in the table.
    pub text: String,
    /// What was wrong, in one line.
    pub why: String,
}

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

impl Line {
    fn of(report: &Report) -> Self {
        let all = report.wrong.iter().chain(&report.slow);
        Self {
            column: report.cell.fault.to_string(),
            green: report.is_green(),
            text: report.ending(),
            why: flat(&all.map(String::as_str).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// In one line of a file whose fields are apart by tabs.
fn flat(text: &str) -> String {
    text.split(|letter: char| letter.is_control()).map(str::trim).collect::<Vec<_>>().join(" ")
}
