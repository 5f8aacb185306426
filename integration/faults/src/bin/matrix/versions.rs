//! Every version of containerd with every one of gVisor.

use crate::{options::Options, print};
use anyhow::{Result, ensure};
use faults::matrix::{Cell, Report, lanes::Plan, versions};
use harness::{Interrupt, Parts, Versions};
use std::{fmt::Write as _, num::NonZeroUsize, process::ExitCode, time::Instant};

/// What came of one pair.
struct Leg {
    versions: Versions,
    reports: Vec<Report>,
}

/// Runs what the filters leave, prints the table, and fails unless all of it is green.
pub(crate) fn run(options: &Options, interrupt: &Interrupt) -> Result<ExitCode> {
    let began = Instant::now();
    let mut legs = Vec::new();
    for versions in Versions::all()? {
        let wanted = |cell: &Cell| {
            let name = format!("{versions} x {cell}");
            options.filters.iter().all(|filter| name.contains(filter.as_str()))
        };
        let cells: Vec<Cell> = versions::cells().into_iter().filter(wanted).collect();
        if options.list {
            cells.iter().for_each(|cell| println!("{versions} x {cell}"));
        } else if !cells.is_empty() {
            let parts = Parts::of(versions.clone())?;
            let jobs = options.jobs.map_or_else(Plan::default_jobs, NonZeroUsize::get);
            let plan = Plan { parts: &parts, guarded: !options.unguarded, jobs, interrupt };
            let tell = |report: &Report| {
                eprintln!("{:5.0} s  {versions} x {report}", began.elapsed().as_secs_f64());
            };
            let taken: Vec<Cell> = cells.into_iter().filter(|cell| plan.takes(cell)).collect();
            let reports = plan.run(&taken, tell);
            if interrupt.settle() {
                return Ok(ExitCode::from(130));
            }
            let reports = reports.or_else(|error| {
                // gVisor's own shim does not start with every containerd.
                let excused = options.unguarded;
                eprintln!("{versions}: {error:#}");
                excused.then(Vec::new).ok_or(error)
            })?;
            legs.push(Leg { reports, versions });
        }
    }
    if options.list {
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!legs.is_empty(), "no cell has that in its name; --list names them all");
    let text = table(&legs, !options.unguarded)?;
    println!("{text}");
    if let Some(path) = &options.save {
        std::fs::write(path, text)?;
    }
    let all_green = legs.iter().flat_map(|leg| &leg.reports).all(Report::is_green);
    Ok(if all_green || options.unguarded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each pair, one column for each trial. (Writing to a String cannot fail.)
fn table(legs: &[Leg], guarded: bool) -> Result<String> {
    let mut text = String::new();
    let who = if guarded { "the guard" } else { "gVisor's own shim" };
    let _ = writeln!(text, "# Versions: {who}, {}\n", print::today()?);
    let _ = writeln!(
        text,
        "Linux {}. In each place: a stand-alone container / a pod of three, from the first time that the end was \
         asked for to containerd's yes, with deadlines of two seconds (*none*: the defaults). All containers of *none*, and of the last column \
         after containerd is back, ran a command first and had their numbers read. What is not RED left nothing, \
         was not ended by the guard where it was healthy, published every exit once and could be started again under its name.\n",
        print::kernel()?
    );
    let faults: Vec<_> = versions::TRIALS.iter().map(|(fault, _)| fault.to_string()).collect();
    let _ = writeln!(text, "| containerd | gVisor | {} |", faults.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(faults.len()));
    for Leg { versions, reports } in legs {
        let column = |(fault, _): &_| {
            let of_it = reports.iter().filter(|report| report.cell.fault == *fault);
            of_it.map(print::ending).collect::<Vec<_>>().join(" / ")
        };
        let columns: Vec<String> = versions::TRIALS.iter().map(column).collect();
        let _ = writeln!(text, "| {} | {} | {} |", versions.containerd, versions.gvisor, columns.join(" | "));
    }
    let all = || legs.iter().flat_map(|leg| leg.reports.iter().map(|report| (&leg.versions, report)));
    let green = all().filter(|(_, report)| report.is_green()).count();
    let _ = writeln!(text, "\n{green} of {} are green.", all().count());
    // What gVisor's own shim does not end is the rule, and no news.
    for (versions, report) in all().filter(|(_, report)| guarded && !report.is_green()) {
        let _ = writeln!(text, "\n    RED {versions} x {report}");
    }
    Ok(text)
}
