//! Kubernetes' own conformance tests of CRI (critest), under gVisor's shim and then under the guard: whatever passes
//! there has to pass here. `hack/conformance` builds what this needs and runs it.
//!
//! It runs in a network namespace of its own, since the tests take fixed ports, and pulls its images from a registry in
//! there.

mod critest;
mod images;
mod registry;
mod specs;
mod table;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use harness::{Interrupt, Parts, Versions};
use specs::End;
use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};
use table::Leg;

/// Set in the namespace.
const INSIDE: &str = "RUNSC_GUARD_CONFORMANCE_INSIDE";
/// Of each class of containerd one: the last of 1, the one with long support, the newest.
const CONTAINERDS: &[&str] = &["1.7.35", "2.3.7", "2.4.2"];
/// A spec may be late on a busy machine: so many are tried once more, alone.
const TRIES: usize = 5;

/// The conformance tests of CRI under gVisor's own shim and under the guard.
#[derive(Parser)]
#[command(name = "conformance")]
struct Options {
    /// with this containerd only; may be given several times
    #[arg(long, value_name = "VERSION")]
    containerd: Vec<String>,
    /// only specs whose names have this in them (a regular expression)
    #[arg(long, value_name = "REGEX")]
    focus: Option<String>,
    /// writes the table there
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    if std::env::var_os(INSIDE).is_none() {
        return enter(options);
    }
    harness::run(Command::new("ip").args(["link", "set", "lo", "up"]), b"", harness::SHORTLY)?.ok()?;
    let registry = registry::serve(images::Store::made()?)?;
    let interrupt = Interrupt::on_signals(|| eprintln!("conformance: interrupted, ending everything"))?;
    let mut legs = Vec::new();
    for containerd in chosen(options) {
        let parts = parts(containerd)?;
        let run = critest::Run { parts: &parts, registry, interrupt: &interrupt };
        let leg = leg(&run, options.focus.as_deref());
        if interrupt.settle() {
            return Ok(ExitCode::from(130));
        }
        legs.push(leg?);
    }
    let text = table::text(&legs)?;
    println!("{text}");
    if let Some(file) = &options.save {
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(if legs.iter().all(Leg::is_green) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds all that needs the network, and becomes the same program without one.
fn enter(options: &Options) -> Result<ExitCode> {
    harness::critest()?;
    for containerd in chosen(options) {
        parts(containerd)?;
    }
    let error = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("cannot run unshare")
}

fn chosen(options: &Options) -> Vec<&str> {
    let named: Vec<&str> = options.containerd.iter().map(String::as_str).collect();
    if named.is_empty() { CONTAINERDS.to_vec() } else { named }
}

fn parts(containerd: &str) -> Result<Parts> {
    Parts::of(Versions { containerd: containerd.to_owned(), ..Versions::newest()? })
}

fn leg(run: &critest::Run<'_>, focus: Option<&str>) -> Result<Leg> {
    let versions = run.parts.versions.clone();
    let tell = |who: &str, specs: &specs::Specs| {
        eprintln!("{versions}, {who}: {} of {} pass", specs::count(specs, End::Passed), specs.len());
    };
    let unguarded = run.all("unguarded", focus)?;
    tell("gVisor's own shim", &unguarded);
    let mut guarded = run.all("guarded", focus)?;
    tell("the guard", &guarded);
    if specs::count(&unguarded, End::Passed) == 0 {
        bail!("{versions}: not one spec passes under gVisor's own shim, which proves nothing");
    }
    let again: Vec<String> = specs::lost(&unguarded, &guarded).into_iter().map(str::to_owned).collect();
    if !again.is_empty() && again.len() <= TRIES {
        eprintln!("once more: {}", again.join("; "));
        let second = run.all("guarded", Some(&critest::exactly(&again)))?;
        guarded.extend(again.iter().filter_map(|name| Some((name.clone(), *second.get(name)?))));
    }
    Ok(Leg { versions, unguarded, guarded, again })
}
