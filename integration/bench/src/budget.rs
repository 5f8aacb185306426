//! What the figures are held against.

use crate::{stats::Interval, subject::Subject};

/// The guarded steps of a life over the unguarded ones. An alarm is for a guard that is slower than none.
pub(crate) fn of_life(subject: Subject, judge: Judge) -> &'static [(&'static str, f64)] {
    match (judge, subject) {
        (Judge::Claim, Subject::Pod(1)) => &[("start", 0.92), ("exec", 1.02), ("stop", 0.95)],
        (Judge::Claim, Subject::Pod(3)) => &[("start", 0.90), ("exec", 1.02), ("stop", 0.95)],
        (Judge::Claim, Subject::Pod(_)) => &[("start", 0.88), ("exec", 1.02), ("stop", 0.95)],
        (Judge::Alarm, Subject::Pod(_)) => &[("start", 1.05), ("exec", 1.05), ("stop", 1.05)],
        (_, Subject::Container) => &[],
    }
}
/// The guard with a running pod, in KiB: its RSS, its USS on a node with other pods, and its binary.
pub(crate) fn of_guard(judge: Judge) -> [f64; 3] {
    let mib = match judge {
        Judge::Claim => [2.0, 1.2, 2.5],
        Judge::Alarm => [2.5, 1.5, 3.0],
    };
    mib.map(|mib| mib * 1024.0)
}

/// Guard and real shim over the unguarded shims, by PSS. An alarm is for more than without a guard.
pub(crate) fn pss(judge: Judge, pods: usize, containers: usize) -> Option<f64> {
    if judge == Judge::Alarm {
        return Some(1.0);
    }
    match (pods, containers) {
        (1, 1) => Some(0.85),
        (1, 3) => Some(0.60),
        (1, 10) => Some(0.35),
        (10, 1) => Some(0.70),
        (10, 3) => Some(0.50),
        (10, 10) => Some(0.30),
        _ => None,
    }
}
/// Processor time of an idle node whose Stats are asked once a second, and the part of shims and runsc, guarded over unguarded.
pub(crate) const IDLE: f64 = 0.15;
pub(crate) const IDLE_SHIMS: f64 = 0.10;
/// Short-lived pods in a minute, guarded over unguarded.
pub(crate) const CHURN: f64 = 1.15;
/// KiB that containerd may have more of after hundreds of them, where it does not grow by itself: a heap of some 50 MiB
/// breathes by so much.
pub(crate) const CHURN_KIB: i64 = 4096;
/// States that reach the real shim over those that reach the unguarded one.
pub(crate) const STATES: f64 = 1.0 / 3.0;
/// Growth of guard and real shim after the first thousand requests to a stopped sandbox.
pub(crate) const SOAK: f64 = 0.02;

/// Seconds from the deadline to the last exit of so many that were wedged at once. An alarm is for what no busy machine
/// explains.
pub(crate) fn late(judge: Judge, at_once: usize) -> Option<f64> {
    match (judge, at_once) {
        (Judge::Claim, 1) => Some(0.05),
        (Judge::Claim, 20) => Some(0.5),
        (Judge::Alarm, 1) => Some(1.0),
        _ => None,
    }
}

/// Seconds that the guard adds to a request that it forwards: half of all, and all but one in a hundred.
pub(crate) const ADDED_P50: f64 = 40e-6;
pub(crate) const ADDED_P99: f64 = 100e-6;
/// The same between containerd and gVisor's shim; of an exec from its announcement to its exit; and from an exit to the
/// answer of who waits for it.
pub(crate) const ADDED_REAL: f64 = 40e-6;
pub(crate) const ADDED_EXEC: f64 = 1e-3;
pub(crate) const ADDED_EXIT: f64 = 100e-6;
/// With 50 in flight, over the same through a process that only copies bytes.
pub(crate) const CROWD_OVER_RELAYED: f64 = 2.0;
/// A request through the guard over the same through a process that only copies bytes: 1.45 to 1.47 where nothing else
/// runs. Processors differ in what a system call costs against all else, and so much is left for that.
pub(crate) const FORWARDED_OVER_RELAYED: f64 = 1.8;

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

impl Judge {
    /// A ratio against its budget.
    pub(crate) fn ratio(self, what: &str, interval: Option<Interval>, limit: f64) -> Finding {
        let end = interval.map(|interval| match self {
            Self::Claim => ("upper", interval.upper),
            Self::Alarm => ("lower", interval.lower),
        });
        Finding {
            what: what.to_owned(),
            text: match end {
                Some((name, end)) => format!("{name} end {end:.3}, at most {limit:.2}"),
                None => "too few pairs to say".to_owned(),
            },
            // Too few pairs prove no claim, and raise no alarm.
            held: end.map_or(self == Self::Alarm, |(_, end)| end <= limit),
        }
    }
}

/// A size against its budget, both in KiB.
pub(crate) fn size(what: &str, kib: f64, limit: f64) -> Finding {
    Finding {
        what: what.to_owned(),
        text: format!("{:.2} MiB, at most {:.2}", kib / 1024.0, limit / 1024.0),
        held: kib <= limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_needs_the_upper_end_and_an_alarm_the_lower() {
        let interval = Some(Interval { median: 1.0, lower: 0.9, upper: 1.1 });
        assert!(!Judge::Claim.ratio("x", interval, 1.05).held);
        assert!(Judge::Alarm.ratio("x", interval, 1.05).held);
        assert!(!Judge::Alarm.ratio("x", interval, 0.85).held);
        assert!(!Judge::Claim.ratio("x", None, 1.05).held);
        assert!(Judge::Alarm.ratio("x", None, 1.05).held);
    }
}
