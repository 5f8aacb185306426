//! The end by the sandbox's own guard: it is asked to begin its escalation, and watched. For a sandbox that containerd has
//! forgotten it is then told what containerd's `delete` would tell it, so that it leaves, too.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use runsc_guard_node::client::{self, AskError};
use runsc_guard_node::params;
use runsc_guard_proto::guard::{Empty, EndRequest, EndResponse, Progress as Stands, ReapRequest};
use std::time::Instant;

use super::current::ensure_current;
use super::direct;
use super::plan::Plan;
use super::progress::{End, Progress, until};
use crate::survey::guards;
use crate::survey::model::{Sandbox, Word};

/// How long it may take to begin.
const BEGINS: Duration = Duration::from_secs(1);
/// The escalation's two seconds, what a busy node adds to its third step, and room.
const ESCALATION: Duration = Duration::from_secs(8);

/// How long a guard that has nothing more to keep may take to be gone.
const CLOSES: Duration = Duration::from_secs(2);

/// gRPC's FAILED_PRECONDITION.
const FAILED_PRECONDITION: i32 = 9;

/// Asks and watches. A guard that does not hear is replaced.
pub(super) fn end(plan: &Plan, report_dir: &Path, progress: &Progress<'_>) -> Result<End> {
    let sandbox = &plan.sandbox;
    let Some(place) = &sandbox.found.place else { bail!("where its guard listens is not known") };
    let begun: Result<Empty, AskError> = {
        // The socket's name would be that of the next guard, too.
        let _lock = direct::lock(&sandbox.found)?;
        ensure_current(plan)?;
        client::ask(&place.socket, "Reap", &ReapRequest::default(), Instant::now() + BEGINS)
    };
    match begun {
        Ok(_) => progress.line("the guard has started the escalation", ""),
        // The kernel keeps it: the guard goes on by itself when that changes.
        Err(AskError::Status { code: FAILED_PRECONDITION, message }) => {
            return Ok(End { left: vec![message], note: String::new() });
        }
        Err(error) => {
            progress.line("the guard does not answer", &error.to_string());
            return direct::end(plan, report_dir, progress);
        }
    }
    let mut end = watch(sandbox, progress)?;
    if sandbox.found.forgotten && end.left.is_empty() {
        end.note = dismiss(sandbox);
    }
    Ok(end)
}

/// Nobody will collect the exits: the guard is told that they are deleted, and leaves. What it does then, in words.
fn dismiss(sandbox: &Sandbox) -> String {
    let found = &sandbox.found;
    let (Some(place), Some(guard)) = (&found.place, found.guard.task()) else { return String::new() };
    // Those that it still keeps: of some nothing may be left that a look from outside could find.
    let kept = guards::ask(place).map(|word| word.containers).unwrap_or_default();
    // Once it closes, its socket and what is kept there may be those of the next guard.
    let serves = || params::guard_of(place, None).is_ok_and(|serves| serves == Some(guard.identity));
    for container in kept.into_iter().take_while(|_| serves()) {
        let request = EndRequest { id: container.id, ..EndRequest::default() };
        // With the last one it closes, and may do so before it has answered.
        let _: Result<EndResponse, AskError> =
            client::ask(&place.socket, "End", &request, Instant::now() + BEGINS);
    }
    match until(CLOSES, || !guard.identity.is_alive()) {
        true => "containerd had forgotten it; its guard has exited".to_owned(),
        false => {
            "containerd has forgotten it; its guard exits when it finds that out, within a minute".to_owned()
        }
    }
}

/// Whether nothing follows by itself.
fn is_last(progress: Stands) -> bool {
    matches!(progress, Stands::PROGRESS_ENDED | Stands::PROGRESS_UNKILLABLE | Stands::PROGRESS_CLOSING)
}

fn watch(sandbox: &Sandbox, progress: &Progress<'_>) -> Result<End> {
    let Some(place) = &sandbox.found.place else { bail!("where its guard listens is not known") };
    let mut last = Word::default();
    let is_over = || match guards::ask(place) {
        Ok(word) => {
            if word.stage != last.stage {
                progress.line(&word.stage.replace('_', " "), &word.left.join("; "));
            }
            last = word;
            is_last(last.progress)
        }
        // It is gone, and it does not go before everything else is.
        Err(AskError::Absent | AskError::Refused | AskError::Broken(_)) => {
            last = Word { progress: Stands::PROGRESS_CLOSING, ..Word::default() };
            true
        }
        Err(_) => false,
    };
    if !until(ESCALATION, is_over) {
        bail!("its guard has not ended it within {ESCALATION:?}; the last step was {}", last.stage);
    }
    let mut left = last.left;
    let sentry = sandbox.found.sentry.as_ref().map(|task| task.identity).filter(|sentry| sentry.is_alive());
    if let Some(sentry) = sentry.filter(|_| left.is_empty()) {
        left.push(format!("process: sentry {}", sentry.pid));
    }
    let note = match last.progress {
        Stands::PROGRESS_UNKILLABLE => "its guard continues as soon as these processes exit",
        _ => "its guard keeps the exit statuses until containerd collects them",
    };
    Ok(End { left, note: note.to_owned() })
}
