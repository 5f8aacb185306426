//! Whether a sandbox answers: one question to its sentry, and where none comes back in time, what /proc says of that.
//!
//! Silence is only what /proc does not explain: a sentry that is stopped, frozen or dead, or one that nothing keeps from
//! answering. In doubt it is slow.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard::io::Heard;
use serde::Deserialize;
use tokio::time::sleep_until;

use super::child::{self, From};
use super::control::{Control, Unanswered};
use super::pulse::Pulse;
use super::state_file;

/// Asks and waits for the answer, in a thread that may block.
pub fn ask(control: &Control, timeout: Duration) -> Heard {
    let probe = Probe::begin(control, timeout);
    let told = control.answers(probe.deadline);
    if told.is_err() {
        thread::sleep(probe.deadline.saturating_duration_since(Instant::now()));
    }
    probe.end(told)
}

/// The same in a task, which takes neither a thread nor a program.
pub async fn hear(control: Control, timeout: Duration) -> Heard {
    let probe = Probe::begin(&control, timeout);
    let told = control.is_heard(probe.deadline).await;
    if told.is_err() {
        // Whatever went wrong at once: what it means is looked at when the time is over.
        sleep_until(probe.deadline.into()).await;
    }
    probe.end(told)
}

/// One question, from the look before it to the look after.
struct Probe<'a> {
    control: &'a Control,
    deadline: Instant,
    before: Option<Pulse>,
}

impl<'a> Probe<'a> {
    fn begin(control: &'a Control, timeout: Duration) -> Self {
        Self { control, deadline: Instant::now() + timeout, before: Pulse::of(control.sentry) }
    }

    fn end(self, told: Result<(), Unanswered>) -> Heard {
        let Control { runsc_root, sandbox, sentry } = self.control;
        let why = match told {
            // runsc's word: the sentry itself answers all the same, only its tasks do not run.
            Ok(()) if state_file::is_paused(runsc_root, sandbox) => return Heard::Paused,
            Ok(()) => return Heard::Answers,
            Err(why) => why,
        };
        let (Some(before), Some(after)) = (self.before, Pulse::of(*sentry)) else { return Heard::Nothing };
        let asked = matches!(why, Unanswered::Silent);
        if !asked {
            log::warn!("the sandbox cannot be asked: {why}");
        }
        if after.is_held() || asked && !after.explains(&before) { Heard::Nothing } else { Heard::Slow }
    }
}

/// `runsc state` prints a handful of keys.
const ANSWER_LIMIT: usize = 64 * 1024;

#[derive(Deserialize)]
struct Answer {
    id: String,
    status: String,
}

/// What `runsc state` says within `timeout` that this container is: `running`, `paused`, ... An error if the command
/// could not be run, which says nothing of the sentry.
pub fn probe(binary: &Path, runsc_root: &Path, id: &str, timeout: Duration) -> io::Result<Option<String>> {
    let mut root = OsString::from("--root=");
    root.push(runsc_root);
    let mut command = Command::new(binary);
    command.arg(root).args(["state", id]);
    let heard = child::ask(&mut command, From::Stdout, ANSWER_LIMIT, Instant::now() + timeout)?;
    let answer = heard.whole.then(|| serde_json::from_slice::<Answer>(&heard.text).ok()).flatten();
    Ok(answer.filter(|answer| answer.id == id).map(|answer| answer.status))
}

#[cfg(test)]
mod tests;
