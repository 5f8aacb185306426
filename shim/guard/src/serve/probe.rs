//! Whether a sandbox answers: one question to its sentry, and where none comes back in time, what /proc says of that.
//!
//! Silence is only what /proc does not explain: a sentry that is stopped, frozen or dead, or one that nothing keeps from
//! answering. In doubt it is slow.

use std::time::{Duration, Instant};

use runsc_guard_core::io::ProbeResult;
use runsc_guard_sandbox::diagnostics::control::{Control, Unanswered};
use runsc_guard_sandbox::diagnostics::pulse::Pulse;
use runsc_guard_sandbox::resources::state_file;
use serde::de::IgnoredAny;
use tokio::time::sleep_until;

use super::watch::answer;

/// One question, put by a task, which takes neither a thread nor a program.
pub(super) async fn hear(control: Control, timeout: Duration) -> ProbeResult {
    let deadline = Instant::now() + timeout;
    let before = Pulse::of(control.sentry);
    let told = match control.ask_state() {
        Ok(question) => answer::<IgnoredAny>(question, deadline).await,
        Err(error) => Err(error),
    };
    let told = control.heard(told, before);
    if told.is_err() {
        // Whatever went wrong at once: what it means is looked at when the time is over.
        sleep_until(deadline.into()).await;
    }
    judge(&control, told)
}

fn judge(control: &Control, told: Result<(), Unanswered>) -> ProbeResult {
    match told {
        // runsc's word: the sentry itself answers all the same, only its tasks do not run.
        Ok(()) if state_file::is_paused(&control.runsc_root, &control.sandbox) => ProbeResult::Paused,
        Ok(()) => ProbeResult::Answers,
        Err(Unanswered::Silent) => ProbeResult::Nothing,
        Err(Unanswered::Slow) => ProbeResult::Slow,
        Err(why) => {
            log::warn!("the sandbox cannot be asked: {why}");
            let can_run = Pulse::of(control.sentry).is_some_and(|pulse| !pulse.is_held());
            if can_run { ProbeResult::Slow } else { ProbeResult::Nothing }
        }
    }
}

#[cfg(test)]
mod tests;
