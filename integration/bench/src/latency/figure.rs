//! One question by two ways, and what the longer one adds.

use super::cost::Cost;
use crate::stats::{Interval, median, median_interval, quantile};
use serde_json::{Value, json};

/// The seconds of each answer that came by one way, in the blocks in which they were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way(pub(crate) Vec<Vec<f64>>);

impl Way {
    /// Over all blocks together.
    pub(crate) fn pooled(&self, q: f64) -> f64 {
        quantile(&self.0.concat(), q).unwrap_or_default()
    }
}

/// What `what` took, answered by `server`.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) server: &'static str,
    pub(crate) what: &'static str,
    pub(crate) in_flight: usize,
    pub(crate) direct: Way,
    pub(crate) through: Way,
    /// The guard's, where it is known.
    pub(crate) cost: Option<Cost>,
}

/// A difference with its 95 % interval, where there are blocks enough to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Added {
    pub(crate) value: f64,
    pub(crate) interval: Option<(f64, f64)>,
}

/// A block must hold so many answers for its own 99th percentile to be one.
const FOR_P99: usize = 200;

impl Figure {
    /// The quantile by the longer way less that by the shorter one: the median over the blocks, each of which met one
    /// mood of the machine; of all together where a block is too small for it.
    pub(crate) fn added(&self, q: f64) -> Added {
        let blocks = self.direct.0.iter().zip(&self.through.0);
        let enough = |(direct, through): &(&Vec<f64>, &Vec<f64>)| {
            q <= 0.5 || direct.len().min(through.len()) >= FOR_P99
        };
        let differences: Vec<f64> = blocks
            .filter(enough)
            .filter_map(|(direct, through)| Some(quantile(through, q)? - quantile(direct, q)?))
            .collect();
        match median(&differences) {
            Some(value) => {
                let interval = median_interval(&differences).map(|i| (i.lower, i.upper));
                Added { value, interval }
            }
            None => Added { value: self.through.pooled(q) - self.direct.pooled(q), interval: None },
        }
    }

    /// Its longer way over that of `other`, block by block.
    pub(crate) fn over(&self, other: &Self) -> Option<Interval> {
        let blocks = self.through.0.iter().zip(&other.through.0);
        let ratios = blocks.filter_map(|(mine, theirs)| Some(median(mine)? / median(theirs)?));
        median_interval(&ratios.collect::<Vec<_>>())
    }

    pub(crate) fn json(&self) -> Value {
        let way = |way: &Way| {
            json!({
                "p50_s": way.pooled(0.5), "p99_s": way.pooled(0.99), "count": way.0.iter().map(Vec::len).sum::<usize>(),
                "blocks_p50_s": way.0.iter().map(|block| median(block)).collect::<Vec<_>>(),
            })
        };
        let added = |q| {
            let added = self.added(q);
            json!({ "s": added.value, "interval_95_s": added.interval })
        };
        json!({
            "server": self.server, "what": self.what, "in_flight": self.in_flight,
            "direct": way(&self.direct), "through": way(&self.through),
            "added_p50": added(0.5), "added_p99": added(0.99),
            "guard_cpu_s": self.cost.map(|cost| cost.cpu_seconds),
            "guard_switches": self.cost.map(|cost| cost.switches),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(direct: Vec<Vec<f64>>, through: Vec<Vec<f64>>) -> Figure {
        let (direct, through) = (Way(direct), Way(through));
        Figure { server: "bare", what: "CloseIO", in_flight: 1, direct, through, cost: None }
    }

    #[test]
    fn what_is_added_is_the_difference_of_each_block() {
        // A slow minute in the middle slows both ways of its block.
        let block = |base: f64| vec![base, base + 1.0, base + 2.0];
        let direct: Vec<_> = (0..7).map(|n| block(f64::from(n * 100))).collect();
        let through: Vec<_> = (0..7).map(|n| block(f64::from(n * 100 + 5))).collect();
        let added = figure(direct, through).added(0.5);
        assert_eq!(added, Added { value: 5.0, interval: Some((5.0, 5.0)) });
    }

    #[test]
    fn a_small_block_has_no_percentile_of_its_own() {
        let added = figure(vec![vec![1.0; 10]], vec![vec![3.0; 10]]).added(0.99);
        assert_eq!(added, Added { value: 2.0, interval: None });
    }
}
