//! The fault matrix on real parts: `hack/matrix` builds what this needs and runs it.

mod options;
mod print;

use anyhow::{Result, ensure};
use clap::Parser as _;
use faults::matrix::{Cell, Entry, Report, lanes::Plan, table};
use harness::{Interrupt, Parts};
use options::Options;
use std::{
    num::NonZeroUsize,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

fn main() -> ExitCode {
    match matrix() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("matrix: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn matrix() -> Result<ExitCode> {
    let options = Options::parse();
    let interrupt = Interrupt::on_signals(|| eprintln!("matrix: interrupted, ending everything"))?;
    let parts = Parts::pinned()?;
    let jobs = options.jobs.map_or_else(Plan::default_jobs, NonZeroUsize::get);
    let plan = Plan { parts: &parts, guarded: !options.unguarded, jobs, interrupt: &interrupt };
    let cells = chosen(&options, &plan);
    if options.list {
        list(&cells);
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!cells.is_empty(), "no cell has that in its name; --list names them all");
    let began = Instant::now();
    let reports = run(&plan, &cells);
    if interrupt.settle() {
        return Ok(ExitCode::from(130));
    }
    let reports = reports?;
    let text = print::table(&reports, &parts.versions, plan.guarded, began.elapsed())?;
    println!("{text}");
    if let Some(path) = &options.save {
        let record = || print::record(&reports, &parts.versions);
        std::fs::write(path, if options.unguarded { record()? } else { text })?;
    }
    let all_green = options.unguarded || reports.iter().all(Report::is_green);
    Ok(if all_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(options: &Options, plan: &Plan<'_>) -> Vec<Cell> {
    let mut cells = if options.pairwise { table::pairwise() } else { table::cells() };
    if !options.pairwise && !options.unguarded {
        cells.extend(table::with_defaults());
    }
    cells.retain(|cell| {
        let name = cell.to_string();
        plan.takes(cell) && options.filters.iter().all(|filter| name.contains(filter.as_str()))
    });
    cells
}

fn list(cells: &[Cell]) {
    for cell in cells {
        println!("{cell}");
    }
    for entry in table::whole() {
        if let Entry::Cannot(cell, why) = entry {
            println!("cannot be: {cell}: {why}");
        }
    }
}

fn run(plan: &Plan<'_>, cells: &[Cell]) -> Result<Vec<Report>> {
    let (began, number) = (Instant::now(), AtomicUsize::new(0));
    plan.run(cells, |report| {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{seconds:5.0} s  {number}/{}  {report}", cells.len());
    })
}
