//! Medians and how sure they are.
//!
//! A start or a stop has a long tail (a busy disk, another process on the core), so means and anything that
//! assumes a normal distribution would tell about the tail. What is compared is the median of the *pairs'*
//! ratios, which were measured seconds apart, so that a slow minute slows both sides of its pairs. Its interval
//! is the binomial one of order statistics: exact for any distribution, no resampling, no seed.

/// A median with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Interval {
    /// Neither end is further from the median than this share of it.
    pub(crate) fn within(&self, share: f64) -> bool {
        let reach = (self.upper - self.median).max(self.median - self.lower);
        reach <= share * self.median
    }
}

/// The middle of `values`; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The smallest of `values` that at least this share of them does not exceed; `None` of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The median of `values` and the narrowest pair of order statistics that holds the true median in at least
/// 95 % of all cases. Fewer than six values cannot say that much.
pub(crate) fn median_interval(values: &[f64]) -> Option<Interval> {
    let rank = outer_rank(values.len())?;
    let sorted = sorted(values);
    Some(Interval {
        median: median(values)?,
        lower: *sorted.get(rank)?,
        upper: *sorted.get(sorted.len() - 1 - rank)?,
    })
}

/// How many values may be left out at each end: the largest number of heads in `count` tosses of a coin that,
/// with fewer, comes in at most 2.5 % of all cases.
fn outer_rank(count: usize) -> Option<usize> {
    let mut probability = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut below = 0.0;
    for heads in 0..=count {
        below += probability;
        if below > 0.025 {
            return heads.checked_sub(1);
        }
        probability *= (count - heads) as f64 / (heads + 1) as f64;
    }
    None
}

/// The k of y = a x^k that fits the points best on paper with two logarithmic scales; at least three of them.
pub(crate) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    if logs.len() < 3 {
        return None;
    }
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), log| (x + log.0 / count, y + log.1 / count));
    let (above, below) = logs.iter().fold((0.0, 0.0), |(above, below), log| {
        (above + (log.0 - x) * (log.1 - y), below + (log.0 - x).powi(2))
    });
    (below > 0.0).then_some(above / below)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_exponent_is_the_slope_of_the_logarithms() {
        let of = |k: f64| exponent(&[1.0, 3.0, 10.0, 50.0].map(|x: f64| (x, 4.0 * x.powf(k))));
        for k in [0.0, 0.5, 1.0, 2.0] {
            assert!(of(k).is_some_and(|fitted| (fitted - k).abs() < 1e-9), "{k}");
        }
        assert_eq!(exponent(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }

    /// Against the published tables of the sign test (n, values left out at each end).
    #[test]
    fn the_ranks_are_those_of_the_tables() {
        for (count, rank) in
            [(5, None), (6, Some(0)), (9, Some(1)), (12, Some(2)), (20, Some(5)), (100, Some(39))]
        {
            assert_eq!(outer_rank(count), rank, "{count}");
        }
    }

    #[test]
    fn the_interval_lies_around_the_median() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let interval = median_interval(&values);
        assert_eq!(interval, Some(Interval { median: 10.5, lower: 6.0, upper: 15.0 }));
        assert!(interval.is_some_and(|interval| interval.within(0.45) && !interval.within(0.4)));
    }
}
