//! One line that tells something, kept until all lines are read: which names are one pod's is known only then.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cause::Cause;
use super::record::Speaker;
use super::signs::Sign;
use super::subjects::Place;
use super::time::{Clock, Stamp};

/// A failure told again before this is the same failure: kubelet writes up to five lines for one.
const ONE_TRY: i64 = 30_000;
/// An engine and kubelet may tell of one try as far apart as a request of kubelet's lasts, with its grace, twice over.
const ONE_REQUEST: i64 = 300_000;

/// A line about a pod.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) sign: Sign,
    pub(super) place: Option<Place>,
    /// The first id of a sandbox or container in it.
    pub(super) id: Option<Place>,
    pub(super) speaker: Option<Speaker>,
    /// As the message says, and as its envelope does.
    pub(super) times: [Option<(Clock, i64)>; 2],
    /// The same in the log's words.
    pub(super) words: Option<Box<str>>,
    /// For how many tries it stands.
    pub(super) weight: u64,
    /// It tells that a request was not answered in time.
    pub(super) is_deadline: bool,
    /// It needs no second one.
    pub(super) is_enough: bool,
    /// Which text it is in, and where in it.
    pub(super) source: u32,
    pub(super) line: u64,
    /// The same for the same words.
    pub(super) hash: u64,
}

impl Fact {
    /// A stamp without its words.
    pub(super) fn time(stamp: Option<&Stamp>) -> Option<(Clock, i64)> {
        stamp.map(|stamp| (stamp.clock, stamp.millis))
    }

    /// Its cause, where it is a failure.
    pub(super) fn failure(&self) -> Option<Cause> {
        match self.sign {
            Sign::Failed(cause) | Sign::Tried(cause) | Sign::Hang(_, cause) => Some(cause),
            _ => None,
        }
    }

    /// Its cause, where it is told outright.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.sign {
            Sign::Note(cause) => Some(cause),
            _ => self.failure(),
        }
    }

    fn when(&self) -> Option<(Clock, i64)> {
        self.times[0].or(self.times[1])
    }

    /// Whether it was before `other`: by a clock that both were read from, else by their places in one text.
    pub(super) fn is_before(&self, other: &Self, is_descending: bool) -> bool {
        let pairs = self
            .times
            .iter()
            .flatten()
            .flat_map(|one| other.times.iter().flatten().map(move |two| (one, two)));
        let by_clock = pairs.filter(|(one, two)| one.0 == two.0).map(|(one, two)| one.1.cmp(&two.1));
        let mut differing = by_clock.filter(|order| *order != Ordering::Equal);
        match differing.next() {
            Some(order) => order == Ordering::Less,
            None if self.source == other.source => (self.line < other.line) != is_descending,
            None => false,
        }
    }
}

/// When something else happened, to be compared with one failure after the other.
#[derive(Default)]
pub(super) struct Moments(BTreeSet<(Clock, i64)>);

impl Moments {
    /// Those of `facts`.
    pub(super) fn of<'a>(facts: impl Iterator<Item = &'a Fact>) -> Self {
        Self(facts.flat_map(|fact| fact.times).flatten().collect())
    }

    /// Whether one of them is of the same try as `fact`, or no clock tells.
    pub(super) fn has(&self, fact: &Fact) -> bool {
        let within =
            |clock: Clock, from: i64, to: i64| self.0.range((clock, from)..=(clock, to)).next().is_some();
        let mut common =
            fact.times.iter().flatten().filter(|(clock, _)| within(*clock, i64::MIN, i64::MAX)).peekable();
        common.peek().is_none() || common.any(|(clock, at)| within(*clock, at - ONE_TRY, at + ONE_TRY))
    }
}

/// How often it was tried: of the lines of one program, on one clock, those that are far enough apart. What a healthy
/// pod has once, it has once for each of its containers. The lines of several programs count together where a common
/// envelope has its clock for them, and for no try before the first failure: that may have gone well.
pub(super) fn tries<'a>(facts: impl Iterator<Item = &'a Fact>) -> u64 {
    let mut clocks: BTreeMap<(Option<Speaker>, Clock, Option<Place>), Vec<i64>> = BTreeMap::new();
    let mut common: BTreeMap<Clock, Vec<(i64, bool)>> = BTreeMap::new();
    let mut timeless: HashMap<(u32, u64), u64> = HashMap::new();
    let mut most = 0;
    for fact in facts {
        most = most.max(fact.weight);
        let is_tried = matches!(fact.sign, Sign::Tried(_) | Sign::Asked);
        let of_one = fact.id.filter(|_| is_tried);
        match fact.when() {
            Some((clock, millis)) => clocks.entry((fact.speaker, clock, of_one)).or_default().push(millis),
            None => *timeless.entry((fact.source, fact.hash)).or_default() += 1,
        }
        if let Some((clock, millis)) = fact.times[1] {
            common.entry(clock).or_default().push((millis, is_tried));
        }
    }
    for ((_, clock, _), times) in clocks {
        most = most.max(apart(clock, times, ONE_TRY));
    }
    for (clock, times) in common {
        let first = times.iter().filter(|(_, is_tried)| !is_tried).map(|(time, _)| *time).min();
        let since =
            times.iter().map(|(time, _)| *time).filter(|time| first.is_some_and(|first| *time >= first));
        most = most.max(apart(clock, since.collect(), ONE_REQUEST));
    }
    most.max(timeless.into_values().max().unwrap_or(0))
}

/// How many of `times` are at least `gap` after the one that was counted before.
fn apart(clock: Clock, mut times: Vec<i64>, gap: i64) -> u64 {
    times.sort_unstable();
    let mut last = None;
    times.retain(|time| {
        let is_next = last.is_none_or(|last| Stamp::distance(clock, last, *time) >= gap);
        if is_next {
            last = Some(*time);
        }
        is_next
    });
    times.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(speaker: Speaker, clock: Clock, second: i64) -> Fact {
        Fact {
            sign: Sign::Failed(Cause::Unsaid),
            place: None,
            id: None,
            speaker: Some(speaker),
            times: [Some((clock, second * 1000)), None],
            words: None,
            weight: 1,
            is_deadline: false,
            is_enough: false,
            source: 0,
            line: second.unsigned_abs(),
            hash: 0,
        }
    }

    #[test]
    fn tries_are_apart_and_of_one_program() {
        let count = |seconds: &[i64]| {
            tries(
                seconds
                    .iter()
                    .map(|second| fact(Speaker::Kubelet, Clock::Klog, *second))
                    .collect::<Vec<_>>()
                    .iter(),
            )
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[0, 1, 29]), 1);
        assert_eq!(count(&[60, 0, 30, 61]), 3, "in whichever order");
        let two = [fact(Speaker::Kubelet, Clock::Klog, 0), fact(Speaker::Containerd, Clock::Zoned, 7200)];
        assert_eq!(tries(two.iter()), 1, "two programs tell of one try");
    }

    #[test]
    fn without_times_the_same_words_again_are_another_try() {
        let mut one = fact(Speaker::Kubelet, Clock::Klog, 0);
        one.times = [None, None];
        let other = Fact { source: 1, ..one.clone() };
        assert_eq!(tries([one.clone(), other].iter()), 1, "two texts may tell of one");
        assert_eq!(tries([one.clone(), one.clone()].iter()), 2);
        let different = Fact { hash: 1, ..one.clone() };
        assert_eq!(tries([one, different].iter()), 1);
    }

    #[test]
    fn what_was_before_is_told_by_a_common_clock_or_the_line() {
        let (early, late) = (fact(Speaker::Kubelet, Clock::Klog, 1), fact(Speaker::Kubelet, Clock::Klog, 2));
        assert!(early.is_before(&late, true) && !late.is_before(&early, true));
        let other = fact(Speaker::Containerd, Clock::Zoned, 3);
        assert!(early.is_before(&other, false) && !early.is_before(&other, true));
        assert!(!early.is_before(&Fact { source: 9, ..other }, false), "nothing is known");
    }
}
