//! Kills guards at random moments and tells whether anything was left, anybody else hit, or anything told twice.
//!
//! `hack/kills` builds what this needs and runs it.

mod options;
mod report;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use faults::kills;
use harness::Interrupt;
use options::Options;
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    match kill() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kills: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn kill() -> Result<ExitCode> {
    let options = Options::parse();
    let plan = options.plan();
    let interrupt = Interrupt::on_signals(|| eprintln!("kills: interrupted, ending everything"))?;
    let host = Arc::new(kills::host()?);
    interrupt.register(&host)?;
    eprintln!("{plan:?}");
    let tally = kills::run(&host, plan, || !interrupt.raised());
    let versions = report::versions(&host);
    let cleared = host.end();
    interrupt.forget(&host);
    if interrupt.settle() {
        return Ok(ExitCode::from(130));
    }
    let tally = tally?;
    cleared?;
    let text = report::text(&plan, &tally, &versions);
    print!("{text}");
    if let Some(folder) = &options.results {
        std::fs::create_dir_all(folder)?;
        let file = folder.join(report::file_name());
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("written to {}", file.display());
    }
    Ok(if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
