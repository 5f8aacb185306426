//! `doctor`: checks a node and says what to do.
//!
//! ```text
//! gather (sockets, files, programs; bounded) --> facts --> judge (pure) --> findings --> print
//!                                                      `--> fragment (--fix)
//! logs (a stream) --> classify (pure) --> tally (pure, bounded) --> verdict
//! ```

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Doctor, Form, Scope};

mod bounded;
mod facts;
mod finding;
mod fragment;
mod gather;
mod judge;
mod logs;
mod print;
mod settings;

pub(crate) use bounded::run as run_bounded;
pub(crate) use facts::{Greeting, Process};
pub(crate) use finding::Finding;
use finding::Level;
pub(crate) use fragment::handler_tables;
pub(crate) use gather::{GUARD, look_at_handler, look_at_kernel, meet, settings_of, state_of};
pub(crate) use judge::{number, unfit};
pub(crate) use settings::{GUARD as GUARDS_TYPE, GVISOR as GVISORS_TYPE, Handler, TYPE_URL, Table};

/// Looks, or reads logs, and prints.
pub(crate) fn run(scope: &Scope, args: &Doctor) -> Result<ExitCode> {
    if !args.logs.is_empty() {
        return logs::run(args);
    }
    let facts = gather::gather(scope, args);
    if args.fix {
        write(&fragment::fragment(&facts))?;
        return Ok(ExitCode::SUCCESS);
    }
    let findings = judge::judge(&facts);
    write(&match args.output {
        Form::Text => print::text(&findings),
        Form::Json => serde_json::to_string_pretty(&findings)? + "\n",
    })?;
    Ok(exit_code(findings.iter().map(|one| one.level)))
}

/// 1 if something fails.
fn exit_code(levels: impl IntoIterator<Item = Level>) -> ExitCode {
    if levels.into_iter().any(|level| level == Level::Fail) {
        crate::FAILED.into()
    } else {
        ExitCode::SUCCESS
    }
}

fn write(text: &str) -> Result<()> {
    match anstream::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
