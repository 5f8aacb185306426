//! Running a program for a bounded time.

use crate::Late;
use anyhow::{Context as _, Result, bail};
use std::{
    io::Write as _,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What a program did within its time.
#[derive(Debug)]
pub struct Outcome {
    /// The command, to be named in messages.
    pub command: String,
    /// Its exit, or `None` if its time passed and it was killed.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Ended by itself and with 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Did not end within its time.
    pub fn timed_out(&self) -> bool {
        self.status.is_none()
    }

    /// The exit code, where there is one.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// Standard output of a program that succeeded, an error that tells everything otherwise.
    pub fn ok(self) -> Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        let said = format!("{} {}", self.stdout.trim(), self.stderr.trim());
        match self.status {
            Some(status) => bail!("`{}`: {status} after {:?}: {said}", self.command, self.took),
            None => {
                Err(Late { limit: self.took, what: format!("the end of `{}`", self.command) }).context(said)
            }
        }
    }
}

/// Runs `command` with `stdin` for at most `limit`, then kills it.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Outcome> {
    let name = format!("{command:?}");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut input = child.stdin.take().context("no stdin")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let stderr = child.stderr.take().context("no stderr")?;
    let bytes = stdin.to_vec();
    std::thread::spawn(move || {
        // The program may leave before it has read everything; its exit says what that meant.
        let _ = input.write_all(&bytes);
    });
    let out = std::thread::spawn(move || read(stdout));
    let err = std::thread::spawn(move || read(stderr));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = began.elapsed();
    Ok(Outcome {
        command: name,
        status,
        stdout: out.join().unwrap_or_default(),
        stderr: err.join().unwrap_or_default(),
        took,
    })
}

fn read(mut from: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    // What came until an error is what there is to report.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
