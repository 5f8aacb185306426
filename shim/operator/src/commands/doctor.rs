//! `doctor`: checks a node and says what to do.
//!
//! ```text
//! gather (sockets, files, programs; bounded) --> facts --> judge (pure) --> findings --> print
//!                                                      `--> fragment (--fix)
//! logs (a stream) --> classify (pure) --> tally (pure, bounded) --> verdict
//! ```

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Doctor, Form, Scope};

mod facts;
mod finding;
mod fragment;
mod gather;
mod judge;
mod logs;
mod look;
mod print;

pub(crate) use finding::Finding;
pub(crate) use fragment::handler_tables;
pub(crate) use gather::look_at_kernel;
pub(crate) use judge::unfit;
pub(crate) use look::look_at_handler;
use print::{exit_code, write};

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
