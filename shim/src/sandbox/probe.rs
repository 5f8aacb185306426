//! Whether a sandbox answers: one question to its sentry, and where none comes back in time, what /proc says of that.
//!
//! Silence is only what /proc does not explain: a sentry that is stopped, frozen or dead, or one that nothing keeps from
//! answering. In doubt it is slow.

use std::time::{Duration, Instant};

use runsc_guard::io::Heard;
use tokio::time::sleep_until;

use super::control::{Control, Unanswered};
use super::pulse::Pulse;
use super::state_file;

/// One question, put by a task, which takes neither a thread nor a program.
pub async fn hear(control: Control, timeout: Duration) -> Heard {
    let deadline = Instant::now() + timeout;
    let told = control.is_heard(deadline).await;
    if told.is_err() {
        // Whatever went wrong at once: what it means is looked at when the time is over.
        sleep_until(deadline.into()).await;
    }
    judge(&control, told)
}

fn judge(control: &Control, told: Result<(), Unanswered>) -> Heard {
    match told {
        // runsc's word: the sentry itself answers all the same, only its tasks do not run.
        Ok(()) if state_file::is_paused(&control.runsc_root, &control.sandbox) => Heard::Paused,
        Ok(()) => Heard::Answers,
        Err(Unanswered::Silent) => Heard::Nothing,
        Err(Unanswered::Slow) => Heard::Slow,
        Err(why) => {
            log::warn!("the sandbox cannot be asked: {why}");
            let can_run = Pulse::of(control.sentry).is_some_and(|pulse| !pulse.is_held());
            if can_run { Heard::Slow } else { Heard::Nothing }
        }
    }
}

#[cfg(test)]
mod tests;
