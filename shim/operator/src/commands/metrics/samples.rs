//! Values by metric and labels, and how they add up. Pure.

use std::collections::BTreeMap;

use super::describe::Metric;

/// Everything that one exposition tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<Metric, BTreeMap<Vec<String>, Value>>);

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of a gauge or a counter.
    Number(u64),
    /// Of a histogram.
    Times(Times),
}

/// How long things took. Counted by upper bounds and not by numbers of buckets, so that guards of several versions
/// add up, whatever bounds they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// How many took at most so many milliseconds, and more than the bound below.
    pub(super) buckets: BTreeMap<u32, u64>,
    /// How many took longer than every bound.
    pub(super) longer: u64,
    /// All of them together.
    pub(super) sum_us: u64,
}

impl Times {
    /// From what a guard tells: a count for each bound, and one more.
    pub(super) fn told(bounds_ms: &[u32], counts: &[u32], sum_us: u64) -> Self {
        let buckets = bounds_ms.iter().zip(counts).map(|(bound, count)| (*bound, u64::from(*count)));
        let longer = counts.iter().skip(bounds_ms.len()).map(|count| u64::from(*count)).sum();
        Self { buckets: buckets.collect(), longer, sum_us }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.values().sum::<u64>() + self.longer
    }

    fn add(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
        self.longer += other.longer;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

impl Samples {
    /// Adds to what stands there; zero makes it stand there.
    pub(super) fn add(&mut self, metric: Metric, labels: &[&str], number: u64) {
        self.put(metric, labels.iter().map(|label| (*label).to_owned()).collect(), &Value::Number(number));
    }

    /// The same for a histogram.
    pub(super) fn add_times(&mut self, metric: Metric, labels: &[&str], times: Times) {
        self.put(metric, labels.iter().map(|label| (*label).to_owned()).collect(), &Value::Times(times));
    }

    /// Adds all of these.
    pub(super) fn merge(&mut self, other: &Self) {
        for (metric, values) in &other.0 {
            for (labels, value) in values {
                self.put(*metric, labels.clone(), value);
            }
        }
    }

    fn put(&mut self, metric: Metric, labels: Vec<String>, value: &Value) {
        let empty = match value {
            Value::Number(_) => Value::Number(0),
            Value::Times(_) => Value::Times(Times::default()),
        };
        let entry = self.0.entry(metric).or_default().entry(labels).or_insert(empty);
        match (entry, value) {
            (Value::Number(sum), Value::Number(number)) => *sum = sum.saturating_add(*number),
            (Value::Times(sum), Value::Times(times)) => sum.add(times),
            // One metric has one kind of value.
            _ => {}
        }
    }

    /// The values of one metric, by their labels.
    pub(super) fn of(&self, metric: Metric) -> impl Iterator<Item = (&Vec<String>, &Value)> {
        self.0.get(&metric).into_iter().flatten()
    }

    /// One number; for tests.
    #[cfg(test)]
    pub(super) fn number(&self, metric: Metric, labels: &[&str]) -> Option<u64> {
        self.of(metric).find(|(have, _)| *have == labels).and_then(|(_, value)| match value {
            Value::Number(number) => Some(*number),
            Value::Times(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_add_up_by_their_labels() {
        let mut one = Samples::default();
        one.add(Metric::Wedges, &["a", "reaped"], 0);
        assert_eq!(one.number(Metric::Wedges, &["a", "reaped"]), Some(0));
        let mut other = one.clone();
        other.add(Metric::Wedges, &["a", "reaped"], 2);
        other.add(Metric::Wedges, &["b", "reaped"], 5);
        one.merge(&other);
        one.merge(&other);
        assert_eq!(one.number(Metric::Wedges, &["a", "reaped"]), Some(4));
        assert_eq!(one.number(Metric::Wedges, &["b", "reaped"]), Some(10));
        assert_eq!(one.number(Metric::Leftover, &["a"]), None);
    }

    #[test]
    fn guards_with_other_buckets_add_up_too() {
        let mut times = Times::told(&[10, 100], &[1, 2, 3], 7);
        times.add(&Times::told(&[10, 50, 100], &[1, 1, 1, 1], 5));
        assert_eq!(times.buckets, BTreeMap::from([(10, 2), (50, 1), (100, 3)]));
        assert_eq!((times.longer, times.sum_us, times.count()), (4, 12, 10));
    }

    #[test]
    fn a_guard_that_tells_too_little_breaks_nothing() {
        assert_eq!(Times::told(&[10, 100], &[], 0).count(), 0);
        assert_eq!(Times::told(&[], &[1, 2], 0).count(), 3);
    }
}
