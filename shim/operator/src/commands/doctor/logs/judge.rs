//! What is so with one pod, of all that was told of it. Pure.

use super::cause::Cause;
use super::fact::{Fact, Moments, tries};
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
    let in_vain = asked_in_vain(&subject, &ends);
    let (cause, count) = if in_vain > 0 { (Cause::Unsaid, in_vain) } else { cause(&open, &subject) };
    let by_guard = subject.facts.iter().any(|fact| matches!(fact.sign, Sign::GuardEnds));
    let waits = subject.facts.iter().any(|fact| matches!(fact.sign, Sign::GuardWaits));
    let only_tried = open.iter().all(|fact| matches!(fact.sign, Sign::Tried(_)));
    // runc and dockerd run themselves again as exe, and every runtime's shim is called alike.
    let may_be_of_any = |comm: &str| {
        let is_it = |name: &Name| matches!(name, Name::Process(text) if text.ends_with(comm));
        !subject.names_gvisor && subject.names.iter().copied().any(is_it)
    };
    let is_enough = open.iter().any(|fact| fact.is_enough && fact.failure() == Some(cause))
        && !may_be_of_any("(containerd-shim)");
    // Of one lockup the kernel tells every half a minute.
    let is_told_again = cause == Cause::Lockup && may_be_of_any("(containerd-shim)");
    let is_named =
        (!subject.names.is_empty() || cause.is_of_the_node()) && !may_be_of_any("(exe)") && !is_told_again;
    let notes = tries(subject.facts.iter().copied().filter(|fact| fact.cause().is_some()));
    let (state, tries) = if by_guard && count < AGAIN && !is_enough {
        (State::Guarded, all)
    } else if cause.is_other() {
        let is_down = cause == Cause::Engine && notes >= AGAIN;
        (
            if open.is_empty() && !is_down { State::Well } else { State::Excused },
            if count == 0 { notes } else { count },
        )
    } else if in_vain > 0 {
        let stuck = if in_vain >= AGAIN && is_named { State::Stuck } else { State::Once };
        (if waits { State::GuardWaits } else { stuck }, in_vain)
    } else if failures.is_empty() {
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

/// How often an end was asked for and did not come, where no line tells how that went. The last time may be going on.
fn asked_in_vain(subject: &Subject<'_>, ends: &[&Fact]) -> u64 {
    let tells = |fact: &&Fact| fact.cause().is_some_and(|cause| cause != Cause::Cgroup);
    if subject.names.is_empty() || subject.facts.iter().any(tells) {
        return 0;
    }
    let asked = subject.facts.iter().copied().filter(|fact| matches!(fact.sign, Sign::Asked));
    tries(asked.filter(|fact| !is_over(fact, ends, &subject.descending))).saturating_sub(1)
}

/// The cause that the failures have in common, and how often it was tried. kubelet, whose lines often tell none, is
/// taken to mean what others tell of the same pod in that moment; whose runtime is runc, it is at any time.
fn cause(open: &[&Fact], subject: &Subject<'_>) -> (Cause, u64) {
    if subject.is_others {
        return (Cause::Runc, tries(open.iter().copied()));
    }
    let is_other = |fact: &&Fact| fact.cause().is_some_and(Cause::is_other);
    let others: Vec<&Fact> = subject.facts.iter().copied().filter(is_other).collect();
    let is_runcs = others.iter().any(|other| other.cause() == Some(Cause::Runc));
    let is_delay = |fact: &&Fact| fact.cause().is_some_and(|cause| !cause.is_no_delay());
    let has_delay = others.iter().any(is_delay);
    let moments = Moments::of(others.iter().copied());
    let delays = Moments::of(others.iter().copied().filter(is_delay));
    let is_excused = |fact: &&Fact| {
        let (any, moments) =
            if fact.is_deadline { (has_delay, &delays) } else { (!others.is_empty(), &moments) };
        fact.failure() == Some(Cause::Unsaid) && any && (is_runcs || moments.has(fact))
    };
    let (excused, own): (Vec<&Fact>, Vec<&Fact>) =
        open.iter().copied().filter(|fact| !is_other(fact)).partition(is_excused);
    let tells = |other: &&&Fact| is_runcs || !excused.is_empty() || other.failure().is_some();
    let other = others.iter().filter(tells).filter_map(|other| other.cause()).max();
    let mut causes: Vec<Cause> = own.iter().filter_map(|fact| fact.failure()).collect();
    causes.sort_unstable();
    causes.dedup();
    // What is not said may be any of them.
    if causes.len() > 1 {
        causes.retain(|cause| *cause != Cause::Unsaid);
    }
    let count = |cause: Cause| {
        let is_same = |one: Cause| one == cause || one == Cause::Unsaid || one.is_stuck() && cause.is_stuck();
        tries(own.iter().copied().filter(|fact| fact.failure().is_some_and(is_same)))
    };
    // Of the same number, the one that tells more: they come in that order, stuck ones first.
    let best = causes.into_iter().map(|cause| (cause, count(cause))).max_by_key(|(_, tries)| *tries);
    match (other, best) {
        (Some(Cause::Answered), Some(best)) if best.0 != Cause::Unsaid => best,
        (Some(other), None | Some((_, 1))) => (other, tries(open.iter().copied())),
        (_, Some(best)) => best,
        (None, None) => {
            (subject.facts.iter().filter_map(|fact| fact.cause()).max().unwrap_or(Cause::Unsaid), 0)
        }
    }
}
