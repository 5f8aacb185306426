//! Which lines tell of a pod that does not end, of one that has ended at last, and of other troubles. Pure; the words
//! are those of kubelet 1.20 to 1.37, containerd 1.6 to 2.4, dockerd, CRI-O, systemd, the kernel and the guard.

use runsc_guard_core::io::{CauseKind, EscalationPhase, keys};

use super::cause::Cause;
use super::record::Speaker;
use crate::known::{self, Hang};

mod words;

pub(super) use words::Whole;
use words::{
    ALONE, ANSWERS, ASKED, BEGINS, CAUSES, DEADLINE, ENDED, FAILED, GONE, GUARD_ENDS, GUARD_WAITS, LOST,
    PROCESSES, REASONS, SILENCE, STATUS, TRIED, Words, has,
};

/// Who writes the guard's lines.
const GUARD: &str = "io.containerd.runsc-guard";

/// So many minutes without a list are no load: kubelet complains after three.
const PLEG_MINUTES: u64 = 5;
/// So often a pod is not killed that ends.
const MANY: u64 = 10;

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// An end was tried, and failed.
    Failed(Cause),
    /// An end was tried: that is the problem only if it is tried again and again.
    Tried(Cause),
    /// An end was asked for, and what came of it is not told here.
    Asked,
    /// Another trouble, or a hint.
    Note(Cause),
    /// It is over: the whole pod, or the one container that the line names.
    Ended(Whole),
    /// The guard is at work: a deadline runs.
    GuardWaits,
    /// The guard has begun to end it, or has ended it.
    GuardEnds,
    /// gVisor tells of a hang that is known, or has crashed as is known.
    Hang(&'static Hang, Cause),
}

/// What `text` tells, if it tells of this at all.
pub(super) fn sign(text: &str) -> Option<Sign> {
    if let Some(guards) = guards(text) {
        return Some(guards);
    }
    if let Some(hang) = known::told_in(text) {
        return Some(Sign::Hang(hang, Cause::Known));
    }
    if let Some((_, whole)) = ENDED.iter().find(|(words, _)| has(text, words)) {
        return Some(Sign::Ended(*whole));
    }
    let text = text.to_ascii_lowercase();
    let text = text.as_str();
    let cause_in =
        |table: &[(Words, Cause)]| table.iter().find(|(words, _)| has(text, words)).map(|(_, cause)| *cause);
    let is_in = |table: &[Words]| table.iter().any(|words| has(text, words));
    if let Some(sign) = alone(text) {
        return Some(sign);
    }
    let cause = another_runtime(text).map(|_| Cause::Runc).or_else(|| cause_in(&CAUSES));
    if is_create(text) && !cause.is_some_and(Cause::is_other) {
        return Some(Sign::Failed(Cause::Create));
    }
    if is_in(&FAILED) {
        // What is typed to search for it is no failure.
        if text.contains("| grep ") {
            return None;
        }
        if is_gone(text, cause) {
            return Some(Sign::Note(Cause::Answered));
        }
        let answered = || is_answered(text).then_some(Cause::Answered);
        let reason = cause.or_else(answered).or_else(|| cause_in(&REASONS));
        return Some(Sign::Failed(reason.unwrap_or(Cause::Unsaid)));
    }
    // kubelet tells of each of its tries: so many are no end that was merely asked for.
    if is_in(&TRIED) || has(text, &["killing", "stopping container"]) && times_seen(text) >= MANY {
        return Some(Sign::Tried(cause.unwrap_or(Cause::Unsaid)));
    }
    if has(text, ASKED) {
        return Some(Sign::Asked);
    }
    if cause.is_none() && has(text, STATUS) {
        return Some(Sign::Note(Cause::Pleg));
    }
    match cause? {
        Cause::Reserved => Some(Sign::Failed(Cause::Reserved)),
        Cause::Runc => Some(Sign::Note(Cause::Runc)),
        other if other.is_other() && !has(text, BEGINS) => Some(Sign::Note(other)),
        _ => None,
    }
}

/// Whether a line tells of a request that was not answered in time.
pub(super) fn is_deadline(text: &str) -> bool {
    has(&text.to_ascii_lowercase(), &[DEADLINE])
}

/// Whether a line tells that an end failed, by words that have no other line's form around them.
pub(super) fn is_failure(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("error response from daemon: ") || FAILED.iter().any(|words| has(&text, words))
}

/// What was to end is gone, in the words of GONE or in those at the end of an error.
fn is_gone(text: &str, cause: Option<Cause>) -> bool {
    // What is missing then may be a program, too.
    let is_last = |words: &&str| {
        let Some((before, rest)) = text.rsplit_once(*words) else { return false };
        let rest = rest.trim_start_matches(": unknown").trim_start();
        (rest.is_empty() || rest.starts_with('"')) && !before.ends_with("file ")
    };
    has(text, GONE) || cause.is_none_or(|cause| cause == Cause::Runc) && LOST.iter().any(is_last)
}

/// Whether an error is told and whole, and is none of time or silence: somebody has answered.
fn is_answered(text: &str) -> bool {
    let error = ANSWERS.iter().find_map(|words| text.split_once(words)).map(|(_, error)| error);
    let is_field = |rest: &str| rest.split(' ').next().is_some_and(|word| word.contains('='));
    let is_quoted = ["err=\"", "error=\"", "error: \""].iter().any(|words| text.contains(words));
    let is_whole = |error: &str| match is_quoted {
        true => error.ends_with(['"', '\'', ']']) || error.split("\" ").skip(1).any(is_field),
        false => text.matches('"').count().is_multiple_of(2),
    };
    let is_told = !text.contains("rpc error") || text.contains("desc = ");
    is_told && error.is_some_and(is_whole) && !has(text, SILENCE)
}

/// How often an event was seen.
pub(super) fn times_seen(text: &str) -> u64 {
    let seen = text.split("(x").nth(1).and_then(|rest| rest.split_once(" over"));
    seen.and_then(|(count, _)| count.parse().ok()).unwrap_or(1)
}

/// Whether a failure needs no second one to be believed: the kernel has waited for two minutes and gVisor for three, a
/// shim that was not loaded is forgotten, and a node goes down once.
pub(super) fn is_enough(sign: &Sign, text: &str) -> bool {
    match sign {
        Sign::Failed(Cause::Unkillable | Cause::Known) | Sign::Hang(_, Cause::Known) => true,
        Sign::Failed(Cause::LoadShim) => text.contains("deadline exceeded"),
        Sign::Failed(Cause::Shutdown) => text.contains("runsc") || text.contains("gvisor"),
        Sign::Failed(Cause::Pleg) => is_long(text),
        _ => false,
    }
}

/// kubelet's list was last made so long ago that no load explains it.
fn is_long(text: &str) -> bool {
    let since =
        text.split("last seen active ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let minutes = since.split('m').next().and_then(|minutes| minutes.parse::<u64>().ok());
    since.contains('h') || since.contains('s') && minutes.is_some_and(|minutes| minutes >= PLEG_MINUTES)
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
    if has(text, &["blocked for more than", "seconds"]) {
        return of_process(text, "task ", Cause::Unkillable);
    }
    if has(text, &["soft lockup - cpu", "stuck for"]) {
        return of_process(text, "! [", Cause::Lockup);
    }
    if has(text, &["waiting for process"]) {
        let is_ours = PROCESSES.iter().any(|name| has_word(text, name)) || text.contains("containerd-shim");
        return is_ours.then_some(Sign::Failed(Cause::Shutdown));
    }
    if let Some((before, _)) = text.split_once("still around after") {
        return is_of_pods(before).then_some(Sign::Failed(Cause::Unkillable));
    }
    if let Some((_, lasts)) = text.split_once("terminating (lasts ") {
        // Beyond its grace, as kubectl describes a pod: in minutes only after two of them.
        let is_long = lasts.split(')').next().is_some_and(|lasts| lasts.contains(['m', 'h', 'd']));
        return is_long.then_some(Sign::Failed(Cause::Unsaid));
    }
    let (_, cause) = ALONE.iter().find(|(words, _)| has(text, words))?;
    let is_hint = matches!(cause, Cause::Stats | Cause::ShimGone);
    Some(if is_hint { Sign::Note(*cause) } else { Sign::Failed(*cause) })
}

/// A Create or Start that did not return in time. (One that found its name taken tells that, which is more.)
fn is_create(text: &str) -> bool {
    has(text, &["runpodsandbox|createpodsandbox|startcontainer|createcontainer", DEADLINE, "failed"])
        && !has(text, &["reserved for|crashloopbackoff|failed (add)"])
}

/// crun, youki or whichever other program `did not terminate successfully` in runsc's place.
pub(super) fn another_runtime(text: &str) -> Option<&str> {
    let (before, _) = text.split_once(" did not terminate suc")?;
    let program = before.rsplit([' ', '/', '"', '\'']).find(|word| !word.is_empty())?;
    (!program.starts_with("runsc")).then_some(program)
}

/// What the kernel says of a process, if it is one of gVisor's: `task NAME:PID blocked`, `stuck for 22s! [NAME:PID]`.
fn of_process(text: &str, before: &str, cause: Cause) -> Option<Sign> {
    let name = text.split(before).nth(1)?.split(':').next()?;
    PROCESSES.contains(&name).then_some(Sign::Failed(cause))
}

/// Whether systemd speaks of an engine's unit, kubelet's or a pod's.
fn is_of_pods(text: &str) -> bool {
    let unit = text.split(": ").next().and_then(|text| text.rsplit(' ').next()).unwrap_or(text);
    let is_scope = unit.ends_with(".scope") || unit.ends_with(".slice");
    let is_pods = has(unit, &["kubepods|cri-containerd-|crio-|docker-|runsc"]);
    Speaker::of(unit).is_some_and(|speaker| speaker != Speaker::Systemd) || is_scope && is_pods
}

fn has_word(text: &str, name: &str) -> bool {
    text.split(|one: char| !(one.is_ascii_alphanumeric() || "_-".contains(one))).any(|word| word == name)
}

#[cfg(test)]
mod tests;
