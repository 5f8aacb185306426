//! A command that is asked something and may never answer: bounded in time and in what is read of it.
//!
//! The guard's server reaps every child, so the exit status may be taken by then. The answer is therefore what
//! the command has written, not how it ended.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::processes::sigkill::sigkill_tree;
use crate::sys::identity::{Identity, Stat};
use crate::sys::kernel::{wait_child, wait_readable};

/// How long a killed command may need to die.
const KILLED_WITHIN: Duration = Duration::from_millis(100);

/// Which of its outputs is the answer; the other goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Stdout,
    Stderr,
}

/// What a command has written.
pub(crate) struct Heard {
    pub(crate) text: Vec<u8>,
    /// Whether that was all, to the end of its output.
    pub(crate) whole: bool,
}

/// Runs `command` until it has closed its output, `limit` bytes are read or `deadline` comes; then it is killed with
/// all that it started. An error if it could not be run.
pub(crate) fn ask(command: &mut Command, from: From, limit: usize, deadline: Instant) -> io::Result<Heard> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match from {
        From::Stdout => command.stdout(Stdio::piped()),
        From::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn()?;
    let pipe = match from {
        From::Stdout => child.stdout.take().map(OwnedFd::from),
        From::Stderr => child.stderr.take().map(OwnedFd::from),
    };
    let mut heard = Heard { text: Vec::new(), whole: false };
    if let Some(pipe) = pipe {
        heard.whole = read_until_end(pipe, limit, deadline, &mut heard.text);
    }
    // It may be reaped by now, and then it is over.
    let _ = end(&mut child, deadline);
    Ok(heard)
}

/// How a child has ended, if it has by `deadline`; otherwise it is killed, with all that it started. An error if somebody
/// else has reaped it. One that SIGKILL does not end is left to the server.
pub(crate) fn end(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let ended = wait_child(child, deadline)?;
    if ended.is_none() {
        match identity_of(child) {
            Ok(identity) => sigkill_tree(identity),
            // Rule 1: without proof of who that is, nobody is killed.
            Err(error) => log::warn!("guard: pid {} is late and cannot be killed: {error}", child.id()),
        }
        let _ = wait_child(child, Instant::now() + KILLED_WITHIN);
    }
    Ok(ended)
}

/// Certain to be our child: one that has ended, was reaped and replaced by a stranger has another parent.
fn identity_of(child: &Child) -> io::Result<Identity> {
    let stat = Stat::of(child.id().cast_signed())?;
    let is_ours = stat.parent == std::process::id().cast_signed();
    is_ours.then_some(stat.identity).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Reads what is written; whether the other end was closed in time and within the limit.
fn read_until_end(pipe: OwnedFd, limit: usize, deadline: Instant, text: &mut Vec<u8>) -> bool {
    let mut file = fs::File::from(pipe);
    let mut buffer = [0; 4096];
    while text.len() < limit && wait_readable(file.as_fd(), deadline).unwrap_or(false) {
        match file.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(_) => break,
        }
    }
    false
}
