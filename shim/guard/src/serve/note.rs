//! What the operator is told, in words.

use std::time::Duration;

use log::Level;
use runsc_guard_core::io::Note;

/// A note in one line, and how grave it is.
pub(crate) fn line(note: &Note) -> (Level, String) {
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
        Note::Ended { took, left } if left.is_empty() => {
            (Level::Warn, format!("ended in {:?}, nothing is left", rounded(*took)))
        }
        Note::Ended { took, left } => {
            let (took, left) = (rounded(*took), left.join("; "));
            (Level::Error, format!("ended in {took:?}, but this is left: {left}"))
        }
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
