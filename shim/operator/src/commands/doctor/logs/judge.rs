//! What is so with one pod, of all that was told of it. Pure.

use super::cause::Cause;
use super::fact::{Fact, tries};
use super::names::Name;
use super::signs::{Sign, Whole};
use super::tally::Subject;

/// The same failure so many times is no slow end any more: it was tried again, and failed again.
const AGAIN: u64 = 2;

/// How it is with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It does not end.
    Stuck,
    /// A failure that may be none.
    Once,
    /// The guard's deadline runs.
    GuardWaits,
    /// Another trouble.
    Excused,
    /// It took several tries, and has ended.
    Slow,
    /// The guard has ended it.
    Guarded,
    /// It took one try, or nothing is the matter.
    Well,
}

impl State {
    /// In a word or two.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Once => "once",
            Self::GuardWaits => "guard waits",
            Self::Excused => "other cause",
            Self::Slow => "slow",
            Self::Guarded => "guarded",
            Self::Well => "well",
        }
    }
}

/// One pod, judged.
#[derive(Clone, Debug)]
pub(super) struct Judged<'a> {
    /// Its name and ids; none of a line that names nobody.
    pub(super) names: Vec<&'a Name>,
    pub(super) state: State,
    pub(super) cause: Cause,
    pub(super) tries: u64,
    pub(super) facts: Vec<&'a Fact>,
}

/// Judges it.
pub(super) fn judge<'a>(subject: Subject<'a>) -> Judged<'a> {
    let failures: Vec<&Fact> =
        subject.facts.iter().copied().filter(|fact| fact.failure().is_some()).collect();
    let all = tries(failures.iter().copied());
    let ends: Vec<&Fact> = subject.facts.iter().copied().rev().filter(|fact| is_end(fact)).collect();
    let open: Vec<&Fact> =
        failures.iter().copied().filter(|fact| !is_over(fact, &ends, &subject.descending)).collect();
    let (cause, count) = cause(&open, &subject);
    let by_guard = subject.facts.iter().any(|fact| matches!(fact.sign, Sign::GuardEnds));
    let waits = subject.facts.iter().any(|fact| matches!(fact.sign, Sign::GuardWaits));
    let only_tried = open.iter().all(|fact| matches!(fact.sign, Sign::Tried(_)));
    let is_enough = open.iter().any(|fact| fact.is_enough && fact.failure() == Some(cause));
    let is_named = !subject.names.is_empty() || cause.is_of_the_node();
    let (state, tries) = if by_guard && count < AGAIN && !is_enough {
        (State::Guarded, all)
    } else if cause.is_other() {
        (if open.is_empty() { State::Well } else { State::Excused }, count)
    } else if failures.is_empty() {
        let notes = tries(subject.facts.iter().copied().filter(|fact| fact.cause().is_some()));
        let without = if notes >= AGAIN { State::Once } else { State::Well };
        (if waits { State::GuardWaits } else { without }, notes)
    } else if open.is_empty() {
        (if all >= AGAIN { State::Slow } else { State::Well }, all)
    } else if only_tried && count < AGAIN {
        (State::Well, count)
    } else if waits && !by_guard {
        (State::GuardWaits, count)
    } else if cause.is_own() && (count >= AGAIN || is_enough) && is_named {
        (State::Stuck, count)
    } else {
        (State::Once, count)
    };
    Judged { names: subject.names, state, cause, tries, facts: subject.facts }
}

/// Whether it tells that something has ended.
fn is_end(fact: &Fact) -> bool {
    matches!(fact.sign, Sign::Ended(_) | Sign::GuardEnds)
}

/// Whether the pod, or the container that the failure was about, has ended afterwards, or the guard has ended it.
fn is_over(failure: &Fact, ends: &[&Fact], descending: &[bool]) -> bool {
    let is_descending = descending.get(failure.source.saturating_sub(1) as usize).copied();
    ends.iter().any(|end| {
        let is_its = match end.sign {
            Sign::Ended(Whole::Container) => end.id.is_some() && end.id == failure.id,
            _ => true,
        };
        is_its && failure.is_before(end, is_descending.unwrap_or(false))
    })
}

/// The cause that the failures have in common, and how often it was tried. kubelet, whose lines often tell none, is
/// taken to mean what others tell of the same pod.
fn cause(open: &[&Fact], subject: &Subject<'_>) -> (Cause, u64) {
    let count = |fits: &dyn Fn(Cause) -> bool| {
        tries(open.iter().copied().filter(|fact| fact.failure().is_some_and(fits)))
    };
    let told = |fits: &dyn Fn(Cause) -> bool| {
        subject.facts.iter().filter_map(|fact| fact.cause()).filter(|cause| fits(*cause)).max()
    };
    if subject.is_others {
        return (Cause::Runc, count(&|_| true));
    }
    let other = told(&|cause| cause.is_other());
    let mut best = (Cause::Unsaid, 0);
    let mut own: Vec<Cause> =
        open.iter().filter_map(|fact| fact.failure()).filter(|cause| !cause.is_other()).collect();
    own.sort_unstable();
    own.dedup();
    for cause in own.iter().copied().filter(|cause| *cause != Cause::Unsaid) {
        let tries = count(&|one| {
            let is_same = one == cause || one.is_stuck() && one != Cause::Unsaid && cause.is_stuck();
            is_same || one == Cause::Unsaid && other.is_none()
        });
        // Of the same number, the one that tells more: they come in that order, stuck ones first.
        if tries >= best.1 {
            best = (cause, tries);
        }
    }
    match (other, best.1) {
        (Some(other), 0 | 1) => (other, count(&|_| true)),
        (_, 0) => {
            let note = told(&|_| true).unwrap_or(Cause::Unsaid);
            let cause = if own.is_empty() { note } else { Cause::Unsaid };
            (cause, count(&|one| one == Cause::Unsaid))
        }
        _ => best,
    }
}
