//! What a shell may complete an argument with: ids, with the pod and the state beside them where the shell shows that.
//! A node that cannot be looked at has none to offer, and says nothing in the middle of somebody's line.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap::{Command, CommandFactory as _};
use clap_complete::{ArgValueCompleter, CompletionCandidate};

use crate::args::{Args, Scope};
use crate::commands::reports;
use crate::survey::survey;

/// The command line, and what completes its ids.
pub(crate) fn command() -> Command {
    let by = |id: &'static str, completer: fn(&OsStr) -> Vec<CompletionCandidate>| {
        move |command: Command| command.mut_arg(id, |arg| arg.add(ArgValueCompleter::new(completer)))
    };
    Args::command()
        .mut_subcommand("show", by("id", sandboxes))
        .mut_subcommand("reap", by("ids", sandboxes))
        .mut_subcommand("reports", by("id", reported))
}

/// Sandboxes of this node whose id begins so.
fn sandboxes(begin: &OsStr) -> Vec<CompletionCandidate> {
    let scope = Scope { namespace: None, runsc_root: Vec::new() };
    let Ok(seen) = survey(&scope) else { return Vec::new() };
    let fitting =
        seen.sandboxes.iter().filter(|sandbox| sandbox.found.id.starts_with(&*begin.to_string_lossy()));
    let candidate = |sandbox: &crate::survey::model::Sandbox| {
        let help = format!("{}, {}", sandbox.pod_name(), sandbox.state.word());
        CompletionCandidate::new(&sandbox.found.id).help(Some(help.into()))
    };
    fitting.map(candidate).collect()
}

/// Sandboxes of which there is a report.
fn reported(begin: &OsStr) -> Vec<CompletionCandidate> {
    let begin = begin.to_string_lossy();
    let ids: BTreeSet<String> = reports::ids().into_iter().filter(|id| id.starts_with(&*begin)).collect();
    ids.into_iter().map(CompletionCandidate::new).collect()
}
