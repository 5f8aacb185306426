//! Load on real parts, as figures: pods in waves, a crowd of wedged ones, and one that is polled for an hour,
//! compressed. `hack/load` builds what this needs and runs it. A figure that is not flat is a failure.

use anyhow::{Context as _, Result};
use clap::Parser;
use faults::load::{self, Look};
use harness::{Host, Interrupt};
use std::{process::ExitCode, sync::Arc};

/// Pods in waves, a crowd of wedged ones, and one that is polled, on real parts.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    /// so many pods in waves, and so many wedged at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    pods: usize,
}

/// Requests of each kind that ten a second make in an hour.
const HOUR: u32 = 36_000;
/// Twenty times as fast, so that it takes three minutes.
const RATE: u32 = 200;
/// Pods of one wave.
const WAVE: usize = 20;
/// What a Go heap may do by itself, and the guard's allocator.
const REAL_SHIM_SLACK_KIB: u64 = 8 << 10;
const GUARD_SLACK_KIB: u64 = 1 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let Options { pods } = Options::parse();
    let interrupt = Interrupt::on_signals(|| eprintln!("load: interrupted, ending everything"))?;
    let host = Arc::new(load::host()?);
    interrupt.register(&host)?;
    let measured = measure(&host, pods);
    let cleared = host.end();
    interrupt.forget(&host);
    if interrupt.settle() {
        return Ok(ExitCode::from(130));
    }
    let flat = measured?;
    cleared?;
    Ok(if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(host: &Host, pods: usize) -> Result<bool> {
    let (each, before, after) = load::waves(host, pods, WAVE)?;
    println!("{pods} healthy pods in waves of {WAVE}, created and deleted: {each:.2?} each, nothing left");
    println!("  containerd before: {before}\n  containerd after:  {after}");
    let crowd = load::crowd(host, pods)?;
    println!("{pods} pods wedged at once: all ended in {:.1?}, nothing left", crowd.took);
    println!("  the largest guard meanwhile: {}", crowd.guard);
    println!("a stopped sandbox, {HOUR} State and {HOUR} Stats, {RATE} of each a second:");
    let guarded = load::poll(host, "guarded", RATE, HOUR, 12)?;
    show(&guarded);
    println!("the same unguarded, as containerd asks, 10 of each a second, for 60 s:");
    show(&load::poll(host, "unguarded", 10, 600, 6)?);
    let flat = is_flat(&guarded)?;
    println!("{}", if flat { "flat" } else { "NOT FLAT" });
    Ok(flat)
}

fn show(looks: &[Look]) {
    for look in looks {
        let guard = look.guard.map(|figures| format!("guard {figures}; ")).unwrap_or_default();
        let at = look.at.as_secs();
        println!("  {at:4} s: {guard}real shim {}, {} goroutines", look.real_shim, look.goroutines);
    }
}

/// From the second look, when everything has been used once, to the last.
fn is_flat(looks: &[Look]) -> Result<bool> {
    let (first, last) = (looks.get(1).context("one look only")?, looks.last().context("no look")?);
    let guards = first.guard.zip(last.guard).context("no guard")?;
    Ok(guards.1.is_flat_since(guards.0, GUARD_SLACK_KIB)
        && last.real_shim.is_flat_since(first.real_shim, REAL_SHIM_SLACK_KIB)
        && last.goroutines <= first.goroutines + 8)
}
