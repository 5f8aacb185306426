//! How often something may be said: a burst, and then one line in a long while. What cannot be killed is tried to be
//! freed every minute, perhaps for days, and a log is not there for that alone. Pure.

use std::time::{Duration, Instant};

/// Lines at once: every step of an escalation, twice.
const BURST: u32 = 12;
/// After these, one for each of these spans.
const EACH: Duration = Duration::from_secs(600);

/// Who counts the lines.
pub(super) struct RateLimit {
    left: u32,
    /// Since when the allowance grows again.
    since: Instant,
    omitted: u32,
}

impl RateLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, since: now, omitted: 0 }
    }

    /// Whether a line may be written now, and how many were left out before it.
    pub(super) fn allows(&mut self, now: Instant) -> Option<u32> {
        while self.left < BURST && now.saturating_duration_since(self.since) >= EACH {
            (self.left, self.since) = (self.left + 1, self.since + EACH);
        }
        if self.left == 0 {
            self.omitted += 1;
            return None;
        }
        if self.left == BURST {
            self.since = now;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_tries_takes_few_lines_that_count_those_left_out() {
        let begun = Instant::now();
        let mut limit = RateLimit::new(begun);
        let minute = |minute: u64| begun + Duration::from_secs(60 * minute);
        let burst = (0..BURST).all(|_| limit.allows(begun) == Some(0));
        assert!(burst && limit.allows(begun).is_none());
        let said: Vec<u32> = (1..=24 * 60).filter_map(|at| limit.allows(minute(at))).collect();
        assert_eq!(said.len(), 24 * 6);
        assert_eq!(said[..2], [10, 9]);
        let quiet = minute(10 * 24 * 60);
        assert!((0..BURST).all(|_| limit.allows(quiet).is_some()) && limit.allows(quiet).is_none());
    }
}
