//! What guards have counted, so that nothing is lost when one ends and nothing counts twice.
//!
//! A guard ends with its sandbox, and its counters with it: sums over the living would go down, which no counter
//! may. So the last word of each guard is kept, and becomes part of one sum when that guard is gone. A guard that
//! ends says its last word unasked ([`Counters::final_metrics`]), which may come in while it is still listed, or just after
//! it was found missing: hence a guard counts as gone only when it is missing for the second time.

use std::collections::{BTreeMap, BTreeSet};

use runsc_guard_proto::guard::MetricsResponse;
use runsc_guard_sandbox::sys::identity::Identity;

use super::describe::Metric;
use super::samples::{Samples, Times};

/// As many guards are remembered beside those that live before the gone are looked for unasked.
const REMEMBERED: usize = 1024;

/// Bounded by the guards that live, [`REMEMBERED`], and the namespaces that there were.
#[derive(Debug, Default)]
pub(super) struct Counters {
    guards: BTreeMap<Identity, Guard>,
    ended: Samples,
    /// How many there were when they were last compared with the living.
    settled: usize,
}

#[derive(Debug)]
struct Guard {
    counted: Samples,
    /// It has said that this was all.
    last: bool,
    /// It was not among the living.
    missing: bool,
}

impl Counters {
    /// Takes over what was heard.
    pub(super) fn update(&mut self, living: &BTreeSet<Identity>, heard: BTreeMap<Identity, MetricsResponse>) {
        for (guard, word) in heard {
            if !self.guards.get(&guard).is_some_and(|known| known.last) {
                self.hear(guard, &word, false);
            }
        }
        let gone = |guard: &Identity, known: &mut Guard| {
            let missing = !living.contains(guard);
            std::mem::replace(&mut known.missing, missing) && missing
        };
        for (_, known) in self.guards.extract_if(.., |guard, known| gone(guard, known)) {
            self.ended.merge(&known.counted);
        }
        self.settled = self.guards.len();
    }

    /// A guard ends. True when so many have that [`Counters::update`] is due.
    pub(super) fn final_metrics(&mut self, word: &MetricsResponse) -> bool {
        let guard = Identity { pid: word.pid, start_time: word.start_time };
        self.hear(guard, word, true);
        self.guards.len() > self.settled + REMEMBERED
    }

    fn hear(&mut self, guard: Identity, word: &MetricsResponse, last: bool) {
        self.guards.insert(guard, Guard { counted: counted(word), last, missing: false });
    }

    /// Over all that were ever heard.
    pub(super) fn totals(&self) -> Samples {
        let mut totals = self.ended.clone();
        self.guards.values().for_each(|guard| totals.merge(&guard.counted));
        totals
    }
}

/// What only goes up.
fn counted(word: &MetricsResponse) -> Samples {
    let namespace = word.namespace.as_str();
    let mut samples = Samples::default();
    for tally in &word.methods {
        for outcome in &tally.outcomes {
            let labels = [namespace, &tally.method, &outcome.what];
            samples.add(Metric::Requests, &labels, outcome.count.into());
        }
        let times = Times::told(&word.bounds_ms, &tally.answered, tally.answered_us);
        samples.add_times(Metric::Answered, &[namespace, &tally.method], times);
    }
    for sign in &word.signs {
        samples.add(Metric::Wedges, &[namespace, &sign.what], sign.count.into());
    }
    for step in &word.steps {
        samples.add(Metric::Steps, &[namespace, &step.what], step.count.into());
    }
    let gone = Times::told(&word.bounds_ms, &word.gone, word.gone_us);
    samples.add_times(Metric::Gone, &[namespace], gone);
    samples.add(Metric::Leftover, &[namespace], word.leftover.into());
    samples.add(Metric::StatsRefuted, &[namespace], word.stats_refuted.into());
    samples.add(Metric::EventsDropped, &[namespace], word.events_dropped.into());
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_proto::guard::{Count, MethodTally};

    fn guard(pid: i32) -> Identity {
        Identity { pid, start_time: 1 }
    }

    fn word(states: u32) -> MetricsResponse {
        let ok = Count { what: "ok".into(), count: states, ..Count::default() };
        let state = MethodTally { method: "State".into(), outcomes: vec![ok], ..MethodTally::default() };
        MetricsResponse { namespace: "ns".into(), methods: vec![state], ..MetricsResponse::default() }
    }

    fn states(counters: &Counters) -> Option<u64> {
        counters.totals().number(Metric::Requests, &["ns", "State", "ok"])
    }

    #[test]
    fn a_guard_that_ends_or_falls_silent_keeps_what_it_had_counted() {
        let mut counters = Counters::default();
        let (one, other) = (guard(1), guard(2));
        let both = BTreeSet::from([one, other]);
        counters.update(&both, BTreeMap::from([(one, word(3)), (other, word(10))]));
        assert_eq!(states(&counters), Some(13));
        counters.update(&both, BTreeMap::from([(one, word(4))]));
        assert_eq!(states(&counters), Some(14), "the other one lives and says nothing");
        counters.update(&BTreeSet::from([one]), BTreeMap::from([(one, word(5))]));
        assert_eq!(states(&counters), Some(15));
        for left in [1, 0] {
            counters.update(&BTreeSet::new(), BTreeMap::new());
            assert_eq!((states(&counters), counters.guards.len()), (Some(15), left));
        }
        // The same pid again is another guard.
        let again = Identity { pid: 1, start_time: 2 };
        counters.update(&BTreeSet::from([again]), BTreeMap::from([(again, word(1))]));
        assert_eq!(states(&counters), Some(16));
    }

    #[test]
    fn the_last_word_counts_once_whenever_it_comes() {
        let one = guard(1);
        let (lives, gone) = (BTreeSet::from([one]), BTreeSet::new());
        let final_metrics = MetricsResponse { pid: 1, start_time: 1, ..word(9) };
        let heard = || BTreeMap::from([(one, word(3))]);
        for when in 0..4 {
            let mut counters = Counters::default();
            for (step, living) in [&lives, &lives, &gone, &gone, &gone].into_iter().enumerate() {
                if step == when {
                    counters.final_metrics(&final_metrics);
                }
                // What was asked before the end may be answered after the last word.
                counters.update(living, if step < 2 { heard() } else { BTreeMap::new() });
            }
            assert_eq!((states(&counters), counters.guards.len()), (Some(9), 0), "before look {when}");
        }
    }

    #[test]
    fn a_flood_of_ends_that_nobody_scrapes_asks_for_a_look() {
        let mut counters = Counters::default();
        let final_metrics = |pid| MetricsResponse { pid, start_time: 1, ..word(1) };
        assert!((0..1024).all(|pid| !counters.final_metrics(&final_metrics(pid))));
        assert!(counters.final_metrics(&final_metrics(1024)));
        counters.update(&BTreeSet::new(), BTreeMap::new());
        counters.update(&BTreeSet::new(), BTreeMap::new());
        assert_eq!((states(&counters), counters.guards.len()), (Some(1025), 0));
    }

    #[test]
    fn what_is_kept_of_the_ended_does_not_grow_with_their_number() {
        let mut counters = Counters::default();
        for pid in 1..1000 {
            counters.update(&BTreeSet::from([guard(pid)]), BTreeMap::from([(guard(pid), word(1))]));
        }
        assert_eq!(counters.guards.len(), 2);
        let series: usize = Metric::ALL.into_iter().map(|metric| counters.ended.of(metric).count()).sum();
        assert_eq!((states(&counters), series), (Some(999), 6));
    }
}
