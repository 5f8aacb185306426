//! What a shell may complete an argument with: ids, with the pod and the state beside them where the shell shows that.
//! A node that cannot be looked at has none to offer, and says nothing in the middle of somebody's line.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap_complete::CompletionCandidate;

use crate::args::Scope;
use crate::commands::reports;
use crate::survey::survey;

/// Sandboxes of this node whose id begins so.
pub(crate) fn sandboxes(begin: &OsStr) -> Vec<CompletionCandidate> {
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
pub(crate) fn reported(begin: &OsStr) -> Vec<CompletionCandidate> {
    let begin = begin.to_string_lossy();
    let ids: BTreeSet<String> = reports::ids().into_iter().filter(|id| id.starts_with(&*begin)).collect();
    ids.into_iter().map(CompletionCandidate::new).collect()
}
