//! Every pinned version of containerd with every one of gVisor: `hack/versions` builds what this needs and runs it.

mod notes;
mod options;
mod table;

use anyhow::{Result, ensure};
use clap::Parser as _;
use faults::matrix::{
    lanes::Plan,
    versions::{self, Beside, Line},
};
use harness::{Interrupt, Parts, Versions, today};
use notes::Leg;
use options::Options;
use std::{
    num::NonZeroUsize,
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("versions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::parse();
    let interrupt = Interrupt::on_signals(|| eprintln!("versions: interrupted, ending everything"))?;
    let mut all = Versions::all()?;
    all.retain(|versions| {
        let name = versions.to_string();
        options.filters.iter().all(|filter| name.contains(filter.as_str()))
    });
    ensure!(!all.is_empty(), "no pair has that in its name; --list names them all");
    if options.list {
        all.iter().for_each(|versions| println!("{versions}"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut legs = options.notes.as_deref().map_or_else(|| Ok(Vec::new()), notes::read)?;
    let began = Instant::now();
    let is_late = || options.minutes.is_some_and(|limit| began.elapsed() > Duration::from_secs(limit * 60));
    let mut left = 0;
    for versions in &all {
        if legs.iter().rfind(|leg| leg.versions == *versions).is_some_and(Leg::is_green) {
            continue;
        }
        if is_late() {
            left += 1;
            continue;
        }
        let lines = pair(&options, versions, &interrupt, began);
        if interrupt.settle() {
            return Ok(ExitCode::from(130));
        }
        let leg = Leg { versions: versions.clone(), lines: lines? };
        if let Some(path) = &options.notes {
            leg.note(path)?;
        }
        legs.push(leg);
    }
    let text = table::table(&all, &legs, !options.unguarded)?;
    println!("{text}");
    if left > 0 {
        println!("{left} of {} pairs have not run yet: run again.", all.len());
        return Ok(ExitCode::from(3));
    }
    if let Some(folder) = &options.results {
        std::fs::write(folder.join(format!("versions-{}.md", today()?)), text)?;
    }
    let last = |versions: &Versions| legs.iter().rfind(|leg| leg.versions == *versions);
    let all_green = all.iter().all(|versions| last(versions).is_some_and(Leg::is_green));
    Ok(if all_green || options.unguarded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn pair(options: &Options, versions: &Versions, interrupt: &Interrupt, began: Instant) -> Result<Vec<Line>> {
    let parts = Parts::of(versions.clone())?;
    let jobs = options.jobs.map_or_else(Plan::default_jobs, NonZeroUsize::get);
    let plan = Plan { parts: &parts, guarded: !options.unguarded, jobs, interrupt };
    let tell = |line: &Line| {
        let Line { column, text, why, .. } = line;
        eprintln!("{:5.0} s  {versions} x {column}: {text} {why}", began.elapsed().as_secs_f64());
    };
    versions::run(&plan, &versions::cells(), &Beside::ALL, tell).or_else(|error| {
        // gVisor's own shim does not start with every containerd.
        eprintln!("{versions}: {error:#}");
        if options.unguarded { Ok(Vec::new()) } else { Err(error) }
    })
}
