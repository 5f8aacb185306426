//! The shim that containerd runs: brings up the guard (`start`), is the guard (no action), cleans up
//! (`delete`), or passes a question on to the real shim (`-info`, `-v`). A person who types its name is told what it is.
//!
//! containerd takes stdout and stderr of `start` together as its answer, so in success nothing but the
//! answer is written, and in failure one line.

// They panic when nobody reads any more, and so would end what is half done.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write, stderr, stdin, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use guard::cli::{self, Invocation, Target};
use guard::{about, delete, info, launch, serve, start};
use runsc_guard_node::paths::Base;
use runsc_guard_node::program;

/// sysexits.h: the command line is wrong.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let begun = Instant::now();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let invocation = match cli::parse(&args) {
        Ok(invocation) => invocation,
        Err(error) => return fail(&error.into(), EX_USAGE),
    };
    let base = Base::default();
    let done = match invocation {
        Invocation::Start(target) => start(&base, &target),
        Invocation::Delete(target) => delete(&base, &target, begun),
        Invocation::Finish(target) => finish(&base, &target, begun),
        Invocation::Serve(target) => guard(&base, &target),
        Invocation::Info => {
            let path = program::path();
            Err(info::become_real_shim(&args, path.as_deref(), &read_stdin()).into())
        }
        Invocation::Version(asker) => {
            info::version(&args, asker, program::path().as_deref()).map_err(anyhow::Error::from)
        }
        Invocation::Help => stdout().write_all(about::help().as_bytes()).context("cannot answer"),
    };
    done.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

fn start(base: &Base, target: &Target) -> Result<()> {
    let bootstrap = cli::bootstrap(target, std::env::var("TTRPC_ADDRESS").ok(), &read_stdin());
    let bundle = std::env::current_dir().context("cannot tell the bundle from the working directory")?;
    let reply = bootstrap.reply;
    let address =
        start::run(base, target, bootstrap, &bundle).with_context(|| format!("container {}", target.id))?;
    stdout().write_all(&reply.encode(&address)).context("cannot answer")
}

fn delete(base: &Base, target: &Target, begun: Instant) -> Result<()> {
    let answer = delete::run(base, target, begun, delete::apart);
    if let Some(note) = &answer.note {
        complain(note);
    }
    stdout().write_all(&answer.encode()).context("cannot answer")
}

fn finish(base: &Base, target: &Target, begun: Instant) -> Result<()> {
    let deadline = delete::told_deadline(begun, &read_stdin());
    let told = delete::finish_and_go_on(base, target, deadline, delete::answer);
    delete::sweep(base, target);
    told.context("cannot answer")
}

fn guard(base: &Base, target: &Target) -> Result<()> {
    let (params, listener) = launch::adopt(base, target)?;
    serve::run(params, listener)
}

/// What containerd pipes in. Nothing by hand, and a stdin that cannot be read is as good as none.
fn read_stdin() -> Vec<u8> {
    let mut content = Vec::new();
    if !stdin().is_terminal() {
        let _ = stdin().take(cli::MAX_STDIN).read_to_end(&mut content);
    }
    content
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    complain(&format!("{error:#}").replace('\n', " "));
    ExitCode::from(code)
}

/// To containerd, or to nobody: a caller that is gone stops nothing half way.
fn complain(what: &str) {
    let _ = writeln!(stderr(), "runsc-guard: {what}");
}
