//! The operator's command: what sandboxes are on this node, how they are, and the end of those that are stuck.
//!
//! It works on nodes with the guard and without: what it tells comes from /proc, from runsc's files and from
//! guards' memory, never from anything that can hang with a sandbox. containerd is not asked: every answer that
//! it could give about a sandbox stands in those places too, and it is often the one that hangs. Only `doctor`
//! greets it, for a bounded time, and `drill` has it start and end a sandbox of its own.
//!
//! ```text
//! survey (/proc, files, guards) --> judge (pure) --> list | show | reap
//! reports (files) --> verdict (pure, with known_hangs.toml) --> reports
//! doctor: gather (bounded) --> judge (pure) --> print
//! survey, guards, reports --> metrics
//! survey, containerd (bounded) --> verdict (pure) --> check
//! drill: room (leftovers) --> containerd --> survey, reap --> outcome (pure)
//! survey, reports, containerd --> tell (pure: events, patches) --> Kubernetes
//! install: node (containerd, files) --> plan (pure; containerd's own dump judges) --> hand
//! ```

// They panic when nobody reads any more, and so would end what is half done.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use clap_complete::CompleteEnv;

mod args;
mod bounded;
mod commands;
mod containerd;
mod gvisor;
mod host;
mod known;
mod paint;
#[cfg(test)]
mod schema;
mod screen;
mod survey;
mod threads;

use args::{Args, Command};
use commands::{FAILED, check, doctor, drill, generate, install, list, metrics, reap, reports, show, tell};

fn main() -> ExitCode {
    // A shell that completes a line asks so; anything else is left to what follows.
    CompleteEnv::with_factory(commands::complete::command).complete();
    let args = Args::parse();
    let done = run(args);
    done.unwrap_or_else(|error| {
        screen::complain(&paint::failure(&format!("runsc-guard: {error:#}")));
        ExitCode::from(FAILED)
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let Args { root, host, scope, command } = args;
    if let Some(pid) = host {
        host::enter(pid)?;
    }
    // What is to be installed lies where this program does, and so does a pod's token, not below the node's root.
    let api = match &command {
        Command::Tell(_) => Some(tell::Api::of_pod()?),
        _ => None,
    };
    if !matches!(command, Command::Install(_)) {
        host::enter_root(&root)?;
    }
    match command {
        Command::Ls(ls) => list::run(&scope, &ls),
        Command::Show(show) => show::run(&scope, &show),
        Command::Reap(reap) => reap::run(&scope, &reap),
        Command::Reports(reports) => reports::run(&scope, &reports),
        Command::Doctor(doctor) => doctor::run(&scope, &doctor),
        Command::Check(check) => check::run(&scope, &check),
        Command::Drill(drill) => drill::run(&scope, &drill),
        Command::Metrics(metrics) => metrics::run(&scope, &metrics),
        Command::Tell(tell) => tell::run(scope, tell, api),
        Command::Install(install) => install::install(&root, &install),
        Command::Uninstall(uninstall) => install::uninstall(&root, &uninstall),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { folder } => generate::man(&folder),
        Command::Configuration { form } => generate::configuration(form),
    }
}
