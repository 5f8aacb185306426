//! What the operator is told, in words.

use std::time::Duration;

use log::Level;
use nix::sys::wait::WaitStatus;
use runsc_guard_core::io::{Answer, Event, Note, Request};

/// The sentry is not asked for Stats any more.
pub(super) fn stats_refuted(why: &str) -> String {
    format!("Stats of this sandbox come from gVisor's shim from now on, not from the sentry: {why}")
}

/// The sign that a note tells of.
pub(super) fn sign(note: &Note) -> Option<String> {
    match note {
        Note::Wedged { cause, .. } => Some(cause.to_string()),
        Note::Silent(_) => Some("it does not answer, though nobody wants its end".to_owned()),
        _ => None,
    }
}

/// A note in one line, and how grave it is.
pub(super) fn line(note: &Note) -> (Level, String) {
    match note {
        Note::Wedged { cause, waited } => {
            let waited = rounded(*waited);
            (Level::Error, format!("wedged: {cause}, waited {waited:?}; the guard ends the sandbox now"))
        }
        Note::RealShimDied => (Level::Error, "the real shim ended without having been told to".to_owned()),
        Note::NodeGoesDown => (Level::Warn, "the node goes down, and the sandbox with it".to_owned()),
        Note::Late(by) => {
            let by = rounded(*by);
            let what = "the guard itself did not run for";
            (Level::Warn, format!("{what} {by:?} (stopped or starved); every deadline moves by it"))
        }
        Note::Ended { took, left, .. } if left.is_empty() => {
            (Level::Warn, format!("ended in {:?}, nothing is left", rounded(*took)))
        }
        Note::Ended { took, left, .. } => {
            let (took, left) = (rounded(*took), left.join("; "));
            (Level::Error, format!("ended in {took:?}, but this is left: {left}"))
        }
        Note::ReleasedLate(left) if left.is_empty() => {
            (Level::Warn, "the release that was late has ended: nothing is left".to_owned())
        }
        Note::ReleasedLate(left) => (
            Level::Error,
            format!("the release that was late has ended, but this is left: {}", left.join("; ")),
        ),
        Note::Unkillable(left) => {
            let left = left.join("; ");
            let line = format!(
                "SIGKILL was sent and the kernel keeps alive: {left}; the guard goes on when they die"
            );
            (Level::Error, line)
        }
        Note::Silent(waited) => {
            let waited = rounded(*waited);
            let line = format!(
                "the sandbox has not answered for {waited:?} though nobody wants its end; see its report, or \
                 runsc-guard show; the watchdog would end it if `watchdog` were \"kill\""
            );
            (Level::Error, line)
        }
        Note::Forgotten => {
            let line = "containerd has forgotten this sandbox (its bundles are gone, and asked it knows none of its \
                        tasks), so nobody will ever ask for its end; the guard ends it now. Was the guard's program moved \
                        while the pod ran?";
            (Level::Error, line.to_owned())
        }
        Note::AnswersAgain(silent) => {
            (Level::Warn, format!("the sandbox answers again, after {:?}", rounded(*silent)))
        }
        Note::ReleasedOne { container, waited, left } => {
            let waited = rounded(*waited);
            let line = format!(
                "Delete of {container} had no effect for {waited:?}, so the guard has released this container by \
                 itself; the sandbox lives on"
            );
            match left.is_empty() {
                true => (Level::Warn, line),
                false => (Level::Error, format!("{line}; this is left: {}", left.join("; "))),
            }
        }
        Note::CreateStuck { container, stuck } => {
            let line = format!("Create of {container} hung and was torn down; it was stuck in: {stuck}");
            (Level::Error, line)
        }
    }
}

/// As precise as a person reads it.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Which process or container a request is about.
pub(super) fn about(op: &Request) -> String {
    match op {
        Request::Start(process)
        | Request::Exec(process, _)
        | Request::State(process, _)
        | Request::ResizePty(process)
        | Request::CloseIo(process)
        | Request::Wait(process)
        | Request::Delete(process)
        | Request::Kill { process, .. } => process.to_string(),
        Request::Create(id, _)
        | Request::Pids(id, _)
        | Request::Connect(id)
        | Request::Stats(id)
        | Request::Update(id)
        | Request::Pause(id)
        | Request::Resume(id)
        | Request::Checkpoint(id)
        | Request::Join(id)
        | Request::End(id) => id.clone(),
        Request::Shutdown | Request::Reap => "the sandbox".to_owned(),
    }
}

/// An answer, in words.
pub(super) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Relay => "as gVisor answered".to_owned(),
        Answer::Done => "done".to_owned(),
        Answer::State { .. } | Answer::Pids(_) | Answer::Connect(_) => "from the guard's record".to_owned(),
        Answer::Waited(exit) | Answer::Deleted(exit) => format!("exit status {}", exit.status),
        Answer::Error(refusal) => refusal.to_string(),
    }
}

/// An event of the real shim's.
pub(super) fn event(topic: &str, event: &Event) -> String {
    match event {
        Event::Exit(process, exit) => format!("{topic} {} status {}", process, exit.status),
        Event::Alive(process) => format!("{topic} {}", process),
        Event::Other => topic.to_owned(),
    }
}

/// How the real shim has ended.
pub(super) fn how_it_ended(how: WaitStatus) -> String {
    match how {
        WaitStatus::Signaled(_, signal, _) => format!("the real shim was ended by {signal}"),
        WaitStatus::Exited(_, status) => format!("the real shim has ended with status {status}"),
        _ => "the real shim has ended".to_owned(),
    }
}
