//! Records what an operator sees who tries a node before and after the guard is installed: a terminal's output with its
//! times (asciicast 2), and a drawing of it that plays by itself. `hack/recording` builds what this needs and runs it.
//!
//! The node is a real containerd in a root of its own, so that every path is the usual one.

mod drawing;
mod terminal;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use harness::{Host, Parts, Root, Service};
use std::{fs, path::PathBuf, time::Duration};
use terminal::Terminal;

/// What is typed, how it ends, and what it says.
const SESSION: [(&[&str], i32, &str); 3] = [
    (&["drill", "--unguarded", "--via", "task"], 1, "it still hangs"),
    (&["install", "--restart"], 0, "restarted"),
    (&["drill"], 0, "kept: ended"),
];
/// Columns of the terminal, and its rows.
const SIZE: (u16, u16) = (100, 30);
/// A pause in which nothing is printed is shown no longer than this.
const PAUSE: Duration = Duration::from_secs(2);

/// Records `runsc-guard drill` without the guard, its installation, and the same with it.
#[derive(Parser)]
#[command(name = "recording", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
struct Options {
    /// Where the asciicast goes
    cast: PathBuf,
    /// Where the drawing of it goes
    svg: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut parts = Parts::pinned()?;
    // Where no OOM score may be lowered the other one does not start by itself (hack/stack).
    parts.real_shim.clone_from(&parts.unguarded_shim);
    let host = Host::builder().parts(parts).root(Root::new()?).start()?;
    let folder = host.path().join("image");
    fs::create_dir(&folder)?;
    for program in ["containerd-shim-runsc-guard-v2", "runsc-guard"] {
        let from = host.parts().guard.with_file_name(program);
        fs::copy(&from, folder.join(program)).with_context(|| from.display().to_string())?;
    }
    let mut terminal = Terminal::new(SIZE);
    Service::of(&host, |_| {
        for (args, code, told) in SESSION {
            terminal.types(&format!("runsc-guard {}", args.join(" ")));
            let ended = terminal.runs(host.command(folder.join("runsc-guard"))?.args(args))?;
            let is_told = terminal.events().iter().any(|(_, text)| text.contains(told));
            ensure!(ended == Some(code) && is_told, "runsc-guard {} ended with {ended:?}", args.join(" "));
        }
        Ok(())
    })?;
    host.end()?;
    fs::write(&options.cast, terminal.asciicast(PAUSE)?)?;
    fs::write(&options.svg, drawing::drawing(terminal.events(), SIZE.0.into(), PAUSE))?;
    Ok(())
}
