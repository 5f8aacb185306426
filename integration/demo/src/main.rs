//! The project in half a minute: the same two sandboxes, a pod and a stand-alone container, under gVisor's own
//! shim and under the guard, wedged the same way and asked to end. `hack/demo` builds what this needs and runs
//! it.
//!
//! Each side has a containerd of its own: a wedged sandbox makes `ctr task ls` fail for its whole namespace, so
//! on one containerd the unguarded half would spoil the view of the guarded one. The halves run at the same
//! time, which also shows that waiting is all that the unguarded one does.
//!
//! What happens goes to stderr, the two lines of the verdict to stdout, after everything is cleared away.

mod screen;
mod show;
mod side;
mod stage;
mod subject;
mod verdict;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use harness::{Interrupt, Parts};
use screen::Screen;
use side::Side;
use std::{io::Write as _, process::ExitCode, sync::Arc, thread};
use verdict::Verdict;

/// Two wedged sandboxes, each under gVisor's own shim and under the guard, are asked to end.
#[derive(Parser)]
#[command(name = "demo", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
struct Options {
    /// containerd (2.x), ctr, runsc and containerd-shim-runsc-v1 from PATH instead of the pinned ones
    #[arg(long)]
    system: bool,
}

fn main() -> ExitCode {
    match demonstrate() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<ExitCode> {
    let Options { system } = Options::parse();
    let parts = if system { Parts::system()? } else { Parts::pinned()? };
    let screen = Arc::new(Screen::new());
    let leaving = Arc::clone(&screen);
    let interrupt = Interrupt::on_signals(move || leaving.note("interrupted: ending everything"))?;
    let _heartbeat = screen.heartbeat();

    let sides = [Side::Unguarded, Side::Guarded];
    let verdicts = thread::scope(|scope| {
        let threads = sides.map(|side| {
            let (parts, screen, interrupt) = (parts.clone(), &screen, &interrupt);
            scope.spawn(move || show::show(side, parts, screen, interrupt))
        });
        threads.map(|thread| thread.join().unwrap_or_else(|_| bail!("it panicked")))
    });
    if interrupt.settle() {
        eprintln!("demo: interrupted, everything is ended");
        return Ok(ExitCode::from(130));
    }
    for (side, verdict) in sides.iter().zip(&verdicts) {
        if let Err(error) = verdict {
            screen.trouble(*side, &format!("{error:#}"));
        }
    }
    screen.close();
    let mut stdout = std::io::stdout().lock();
    for (side, verdict) in sides.iter().zip(&verdicts) {
        let line = match verdict {
            Ok(verdict) => verdict.to_string(),
            Err(_) => "could not be shown, see above".to_owned(),
        };
        writeln!(stdout, "{}", screen.verdict(*side, &line, verdict.as_ref().is_ok_and(Verdict::good)))
            .context("cannot write to stdout")?;
    }
    let [unguarded, guarded] = &verdicts;
    let shown = unguarded.is_ok() && guarded.as_ref().is_ok_and(Verdict::kept_promise);
    Ok(if shown { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
