//! What the guard costs, against the shim that it guards: both in one run, in pairs, on one containerd.
//!
//! `hack/bench` builds what this needs and runs it. What is measured, and what disturbs it, stands with each
//! part: [`life`] (start, exec, stop), [`memory`], [`stats`] (how sure), [`budget`] (how much is too much).

mod budget;
mod life;
mod memory;
mod options;
mod report;
mod stats;

use anyhow::{Context as _, Result, ensure};
use budget::Judge;
use integration::{Cri, Host, Interrupt};
use life::{BUDGETED, Pairs, Side};
use memory::{Idle, Shims};
use options::Options;
use std::{process::ExitCode, sync::Arc, time::Instant};

/// The intervals of what has a budget are looked at after every so many pairs: seldom enough that stopping at the first narrow one does
/// not favour luck.
const BATCH: usize = 10;
/// Half the width of an interval that is narrow enough, as a share of its median.
const NARROW: f64 = 0.02;

/// Everything that was measured.
struct Measured {
    pairs: Pairs,
    shims: Vec<Shims>,
    idle: Idle,
    binary_bytes: u64,
    seconds: f64,
}

fn main() -> ExitCode {
    match bench() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<ExitCode> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    let interrupt = Interrupt::on_signals(|| eprintln!("bench: interrupted, ending everything"))?;
    let (host, _binaries) = life::host()?;
    let host = Arc::new(host);
    interrupt.register(&host)?;
    let measured = measure(&options, &host, &interrupt);
    let cleared = host.end();
    interrupt.forget(&host);
    if interrupt.settle() {
        return Ok(ExitCode::from(130));
    }
    let measured = measured?;
    cleared?;

    let judge = if options.check { Judge::Alarm } else { Judge::Claim };
    let findings = budget::judge(judge, &measured.pairs, &measured.idle, measured.binary_bytes);
    print!("{}", report::table(&measured, &findings));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&measured, &findings))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = options.check && findings.iter().any(|finding| !finding.held);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(options: &Options, host: &Host, interrupt: &Interrupt) -> Result<Measured> {
    let began = Instant::now();
    let cri = host.cri()?;
    let (mut shims, mut idle) = (Vec::new(), None);
    for &pods in options.pods_to_weigh() {
        for side in Side::BOTH {
            eprintln!("{:5.0} s  weighing {pods} x {}", began.elapsed().as_secs_f64(), side.name());
            let (weighed, guard) = memory::weigh(host, &cri, interrupt, side, pods)?;
            shims.push(weighed);
            idle = idle.or(guard);
        }
    }
    // The first of each kind finds cold caches, which is not the handler's doing.
    Pairs::default().add(host, &cri).context("warming up")?;
    let pairs = live_in_pairs(options, host, &cri, began)?;
    Ok(Measured {
        pairs,
        shims,
        idle: idle.context("no guard was weighed")?,
        binary_bytes: std::fs::metadata(&host.parts().guard)?.len(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn live_in_pairs(options: &Options, host: &Host, cri: &Cri, began: Instant) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    while pairs.len() < options.pairs {
        let batch = BATCH.min(options.pairs - pairs.len());
        for _ in 0..batch {
            pairs.add(host, cri)?;
        }
        eprintln!("{:5.0} s  {} pairs: {}", began.elapsed().as_secs_f64(), pairs.len(), so_far(&pairs));
        let narrow = |step: &&str| {
            stats::median_interval(&pairs.ratios(step)).is_some_and(|interval| interval.within(NARROW))
        };
        if BUDGETED.iter().all(narrow) {
            break;
        }
    }
    ensure!(pairs.len() > 0, "no pairs");
    Ok(pairs)
}

fn so_far(pairs: &Pairs) -> String {
    let step = |step: &&str| match stats::median_interval(&pairs.ratios(step)) {
        Some(i) => format!("{step} {:.3} ({:.3} to {:.3})", i.median, i.lower, i.upper),
        None => format!("{step} ?"),
    };
    BUDGETED.iter().map(step).collect::<Vec<_>>().join(", ")
}
