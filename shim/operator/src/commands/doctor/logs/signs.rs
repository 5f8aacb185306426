//! Which lines tell of a pod that does not end, of one that has ended at last, and of other troubles. Pure; the words
//! are those of kubelet 1.20 to 1.37, containerd 1.6 to 2.4, dockerd, CRI-O, systemd, the kernel and the guard.

use runsc_guard_core::io::{CauseKind, EscalationPhase, keys};

use super::cause::Cause;
use crate::known::{self, Hang};

mod words;

pub(super) use words::Whole;
use words::{CAUSES, ENDED, FAILED, GONE, GUARD_ENDS, GUARD_WAITS, PROCESSES, REASONS, TRIED, Words};

/// Who writes the guard's lines.
const GUARD: &str = "io.containerd.runsc-guard";

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// An end was tried, and failed.
    Failed(Cause),
    /// An end was tried: that is the problem only if it is tried again and again.
    Tried(Cause),
    /// Another trouble, or a hint.
    Note(Cause),
    /// It is over: the whole pod, or the one container that the line names.
    Ended(Whole),
    /// The guard is at work: a deadline runs.
    GuardWaits,
    /// The guard has begun to end it, or has ended it.
    GuardEnds,
    /// gVisor tells of a hang that is known.
    Hang(&'static Hang),
}

/// What `text` tells, if it tells of this at all.
pub(super) fn sign(text: &str) -> Option<Sign> {
    let has = |words: &Words| words.iter().all(|word| text.contains(word));
    if let Some(guards) = guards(text) {
        return Some(guards);
    }
    if let Some(hang) = known::told_in(text) {
        return Some(Sign::Hang(hang));
    }
    if let Some((_, whole)) = ENDED.iter().find(|(words, _)| has(words)) {
        return Some(Sign::Ended(*whole));
    }
    if let Some(sign) = alone(text) {
        return Some(sign);
    }
    let cause = CAUSES.iter().find(|(words, _)| has(words)).map(|(_, cause)| *cause);
    let cause = cause.or_else(|| another_runtime(text).map(|_| Cause::Runc));
    if FAILED.iter().any(has) {
        if GONE.iter().any(|word| text.contains(word)) {
            return None;
        }
        let reason = || REASONS.iter().find(|(words, _)| has(words)).map(|(_, cause)| *cause);
        return Some(Sign::Failed(cause.or_else(reason).unwrap_or(Cause::Unsaid)));
    }
    if TRIED.iter().any(has) {
        return Some(Sign::Tried(cause.unwrap_or(Cause::Unsaid)));
    }
    match cause? {
        Cause::Reserved => Some(Sign::Failed(Cause::Reserved)),
        other if other.is_other() => Some(Sign::Note(other)),
        _ => None,
    }
}

/// The guard's own lines, and its answers in those of others. Its lines have keys; those of older guards, and its
/// answers, have words alone.
fn guards(text: &str) -> Option<Sign> {
    if !text.contains("guard") {
        return None;
    }
    if text.contains(GUARD)
        && let Some(sign) = by_key(text)
    {
        return Some(sign);
    }
    if text.contains("has not answered for") && text.contains("though nobody wants its end") {
        return Some(Sign::Failed(Cause::Silent));
    }
    if text.contains("SIGKILL was sent") && text.contains("kernel keeps") {
        return Some(Sign::Failed(Cause::Unkillable));
    }
    let has = |all: &[&str]| all.iter().any(|words| text.contains(words));
    if has(&GUARD_ENDS) {
        return Some(Sign::GuardEnds);
    }
    has(&GUARD_WAITS).then_some(Sign::GuardWaits)
}

/// What a line of the guard's tells by its keys.
fn by_key(text: &str) -> Option<Sign> {
    use EscalationPhase::{Begins, Ends, Forgotten, Silent, Unkillable};
    let is_in = |phase: EscalationPhase| has_field(text, keys::PHASE, phase.as_str());
    let is_because = |cause: CauseKind| has_field(text, keys::CAUSE, cause.as_str());
    if is_in(Unkillable) {
        return Some(Sign::Failed(Cause::Unkillable));
    }
    if is_in(Silent) {
        return Some(Sign::Failed(Cause::Silent));
    }
    let is_of_one = is_because(CauseKind::CreateStuck) || is_because(CauseKind::DeleteStuck);
    ([Begins, Ends, Forgotten].into_iter().any(is_in) || is_of_one).then_some(Sign::GuardEnds)
}

/// Whether a line has this field, be it logfmt or what was JSON.
fn has_field(text: &str, name: &str, value: &str) -> bool {
    let is_there =
        |field: &str| text.split(field).nth(1).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    is_there(&format!(" {name}={value}")) || text.contains(&format!(" {name}=\"{value}\""))
}

/// Lines that are about no end that somebody has asked for.
fn alone(text: &str) -> Option<Sign> {
    let has = |words: Words| words.iter().all(|word| text.contains(word));
    let cause = if has(&["blocked for more than", "seconds"]) {
        return of_process(text, "task ", Cause::Unkillable);
    } else if has(&["soft lockup - CPU", "stuck for"]) {
        return of_process(text, "! [", Cause::Lockup);
    } else if has(&["Waiting for process"]) {
        let is_ours = PROCESSES.iter().any(|name| has_word(text, name)) || text.contains("containerd-shim");
        return is_ours.then_some(Sign::Failed(Cause::Shutdown));
    } else if has(&["Shutdown manager", "killing time out"]) {
        Cause::Shutdown
    } else if has(&["till around after", "SIGKILL"]) || has(&["rocesses still around after"]) {
        Cause::Unkillable
    } else if has(&["PLEG is not healthy", "last seen active"])
        || has(&["List", "from runtime service failed", "DeadlineExceeded"])
        || has(&["Unable to retrieve pods", "DeadlineExceeded"])
    {
        Cause::Pleg
    } else if has(&["containerd.service", "tart operation timed out"]) {
        Cause::Start
    } else if has(&["Sentry detected", "stuck task"]) || has(&["Watchdog goroutine is stuck"]) {
        Cause::Known
    } else if has(&["failed to load shim"]) || has(&["unable to load shim"]) {
        Cause::LoadShim
    } else if has(&["cleaning leaked shim process"])
        || has(&["shim might be leaked"])
        || has(&["failed to delete shim"])
        || has(&["failed to shutdown shim task"])
        || has(&["failed to delete dead shim"])
        || has(&["failed to clean up after shim disconnected"])
    {
        Cause::Leaked
    } else if has(&["collecting metrics for", "deadline exceeded"])
        || has(&["stat task", "deadline exceeded"])
    {
        return Some(Sign::Note(Cause::Stats));
    } else if has(&["collecting metrics for", "ttrpc: closed"]) {
        return Some(Sign::Note(Cause::ShimGone));
    } else if create(text) {
        Cause::Create
    } else {
        return None;
    };
    Some(Sign::Failed(cause))
}

/// A Create or Start that did not return in time. (One that found its name taken tells that, which is more.)
fn create(text: &str) -> bool {
    let words = ["RunPodSandbox", "CreatePodSandbox", "StartContainer", "CreateContainer"];
    text.contains("DeadlineExceeded")
        && text.contains("failed")
        && !text.contains("reserved for")
        && !text.contains("CrashLoopBackOff")
        && words.iter().any(|word| text.contains(word))
        && !CAUSES
            .iter()
            .any(|(words, cause)| cause.is_other() && words.iter().all(|word| text.contains(word)))
}

/// crun, youki or whichever other program `did not terminate successfully` in runsc's place.
fn another_runtime(text: &str) -> Option<&str> {
    let (before, _) = text.split_once(" did not terminate successfully")?;
    let program = before.rsplit([' ', '/', '"', '\'']).find(|word| !word.is_empty())?;
    (!program.starts_with("runsc")).then_some(program)
}

/// What the kernel says of a process, if it is one of gVisor's: `task NAME:PID blocked`, `stuck for 22s! [NAME:PID]`.
fn of_process(text: &str, before: &str, cause: Cause) -> Option<Sign> {
    let name = text.split(before).nth(1)?.split(':').next()?;
    PROCESSES.contains(&name).then_some(Sign::Failed(cause))
}

fn has_word(text: &str, name: &str) -> bool {
    text.split(|one: char| !(one.is_ascii_alphanumeric() || "_-".contains(one))).any(|word| word == name)
}

#[cfg(test)]
mod tests;
