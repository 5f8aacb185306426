//! What the figures are held against.

use crate::{
    life::{self, Pairs},
    memory::Idle,
    stats::median_interval,
};

/// A guarded step over the unguarded one.
pub(crate) const RATIO: f64 = 1.05;
/// The guard's RSS with a running pod.
const RSS_KIB: f64 = 2.5 * 1024.0;
/// The guard's binary.
const BINARY_KIB: f64 = 3.0 * 1024.0;

/// One figure against its budget.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) text: String,
    pub(crate) held: bool,
}

/// By which end of a ratio's interval a budget is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Held if the upper end is within: the whole measurement's claim, for which it takes many pairs.
    Claim,
    /// Broken only if the lower end is beyond: a short run on a busy machine has wide intervals, and must not
    /// fail for that. It finds a guard that is clearly too slow, never proves that one is fast enough.
    Alarm,
}

/// Judges everything that has a budget.
pub(crate) fn judge(judge: Judge, pairs: &Pairs, idle: &Idle, binary_bytes: u64) -> Vec<Finding> {
    let mut findings: Vec<Finding> = life::BUDGETED
        .iter()
        .map(|step| {
            let interval = median_interval(&pairs.ratios(step));
            let end = interval.map(|interval| match judge {
                Judge::Claim => interval.upper,
                Judge::Alarm => interval.lower,
            });
            Finding {
                what: (*step).to_owned(),
                text: match (end, judge) {
                    (Some(end), Judge::Claim) => format!("upper end {end:.3}, at most {RATIO:.2}"),
                    (Some(end), Judge::Alarm) => format!("lower end {end:.3}, at most {RATIO:.2}"),
                    (None, _) => "too few pairs to say".to_owned(),
                },
                // Too few pairs prove no claim, and raise no alarm.
                held: end.map_or(judge == Judge::Alarm, |end| end <= RATIO),
            }
        })
        .collect();
    for (what, kib, limit) in [
        ("guard's RSS", idle.weight.rss as f64, RSS_KIB),
        ("guard's binary", binary_bytes as f64 / 1024.0, BINARY_KIB),
    ] {
        findings.push(Finding {
            what: what.to_owned(),
            text: format!("{:.2} MiB, at most {:.2}", kib / 1024.0, limit / 1024.0),
            held: kib <= limit,
        });
    }
    findings
}
