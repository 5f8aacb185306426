//! What the guard costs, against the shim that it guards: both in one run, in pairs, on one containerd.
//!
//! `hack/bench` builds what this needs and runs it. What is measured, and what disturbs it, stands with each
//! part: [`latency`], [`life`], [`memory`], [`commands`], [`ending`], [`soak`], [`idle`], [`many`], [`churn`]; [`nodes`] says on what, [`stats`] how sure it is, [`budget`] how much is too
//! much.

mod budget;
mod churn;
mod commands;
mod ending;
mod growth;
mod idle;
mod latency;
mod life;
mod many;
mod memory;
mod nodes;
mod options;
mod section;
mod soak;
mod stats;
mod subject;
mod svg;
mod table;
mod trace;

use anyhow::{Context as _, Result, bail};
use harness::Interrupt;
use latency::stand_in;
use nodes::Nodes;
use options::{Options, Part};
use section::{Section, Stage};
use serde_json::{Map, Value, json};
use std::{path::Path, process::ExitCode, time::Instant};
use table::Table;
use trace::record;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // What the guard passes to its real shim follows.
        [stand_in::SHIM, ..] => stand_in::serve().map(|()| ExitCode::SUCCESS),
        [stand_in::RELAY, target] => stand_in::relay(Path::new(target)).map(|()| ExitCode::SUCCESS),
        [record::START, ref rest @ ..] => record::start(rest).map(|()| ExitCode::SUCCESS),
        [record::RELAY, mark, marker, target] => {
            record::relay(mark, Path::new(marker), Path::new(target)).map(|()| ExitCode::SUCCESS)
        }
        _ => bench(arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn bench(arguments: Vec<String>) -> Result<ExitCode> {
    let own = std::iter::once("bench".to_owned());
    let options = Options::parse(own.chain(arguments)).unwrap_or_else(|error| error.exit());
    let began = Instant::now();
    let interrupt = Interrupt::on_signals(|| eprintln!("bench: interrupted, ending everything"))?;
    if let Some(svg) = options.trace() {
        let traced = trace::run(&interrupt, &options.programs()?, svg);
        if interrupt.settle() {
            return Ok(ExitCode::from(130));
        }
        return traced.map(|()| ExitCode::SUCCESS);
    }
    let programs = options.programs()?;
    println!("{}\n", programs.versions);
    let seed = harness::seed();
    let nodes = Nodes::start(&interrupt, options.grouping(), programs)?;
    let sections = measure(&options, &nodes, &interrupt, (began, seed));
    let cleared = nodes.end(&interrupt);
    if interrupt.settle() {
        return Ok(ExitCode::from(130));
    }
    let sections = sections?;
    cleared?;
    let held = sections.iter().all(|(_, section)| section.findings.iter().all(|finding| finding.held));
    report(&options, sections, began)?;
    Ok(if options.check && !held { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(
    options: &Options,
    nodes: &Nodes,
    interrupt: &Interrupt,
    (began, seed): (Instant, u64),
) -> Result<Vec<(Part, Section)>> {
    let nodes = nodes.all();
    let host = nodes.last().context("no node")?.host;
    let stage = Stage { nodes, host, interrupt, options, began, seed };
    let one = |part: &Part| -> Result<(Part, Section)> {
        let section = match part {
            Part::Latency => latency::measure(&stage),
            Part::Life => life::measure(&stage),
            Part::Memory => memory::measure(&stage),
            Part::Commands => commands::measure(&stage),
            Part::Ending => ending::measure(&stage),
            Part::Soak => soak::measure(&stage),
            Part::Idle => idle::measure(&stage),
            Part::Many => many::measure(&stage),
            Part::Churn => churn::measure(&stage),
        };
        Ok((*part, section.with_context(|| part.name())?))
    };
    options.parts.iter().map(one).collect()
}

fn report(options: &Options, sections: Vec<(Part, Section)>, began: Instant) -> Result<()> {
    let mut budgets = Table::new(["budgets", "", ""]);
    let (mut all, mut panels, mut series) = (Map::new(), Vec::new(), Vec::new());
    for (part, section) in sections {
        for table in &section.tables {
            println!("{table}");
        }
        for finding in &section.findings {
            let verdict = if finding.held { "held" } else { "NOT HELD" };
            budgets.row([finding.what.as_str(), &finding.text, verdict]);
        }
        let findings = section
            .findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "figure": finding.text, "held": finding.held }));
        let json = json!({ "measured": section.json, "budgets": findings.collect::<Vec<_>>() });
        all.insert(part.name().to_owned(), json);
        panels.extend(section.panels);
        series.extend(section.series);
    }
    if options.growth {
        println!("{}", growth::table(&series));
        all.insert("growth".to_owned(), growth::json(&series));
    }
    print!("{budgets}");
    all.insert("took_s".to_owned(), json!(began.elapsed().as_secs_f64()));
    if let Some(path) = &options.json {
        write(path, &(serde_json::to_string_pretty(&Value::Object(all))? + "\n"))?;
    }
    match &options.svg {
        Some(_) if panels.is_empty() => bail!("nothing to draw"),
        Some(path) => write(path, &svg::picture(&panels)),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
