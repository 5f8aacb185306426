//! Waiting for facts.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often [`eventually`] looks: short against everything that is measured here, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long an answer, or an end that nothing is in the way of, may take on a busy machine. This and the next three are
/// for who waits for a fact and measures nothing.
pub const SHORTLY: Duration = Duration::from_secs(10);
/// The same for a pod's start or end.
pub const SOON: Duration = Duration::from_secs(20);
/// Where a deadline has to pass first.
pub const LATER: Duration = Duration::from_secs(30);
/// Where the default deadlines have to pass first, several programs start and stop, or something is built.
pub const AT_LAST: Duration = Duration::from_secs(60);

/// `limit` as this machine should read it: `RUNSC_GUARD_PATIENCE` (a factor, default 1) stretches every wait,
/// and never a promise that a test checks.
pub fn patience(limit: Duration) -> Duration {
    let factor =
        std::env::var("RUNSC_GUARD_PATIENCE").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
    limit.mul_f64(factor)
}

/// Looks until `probe` gives a value, or fails after `limit` (scaled by [`patience`]) saying `what` did not come.
pub fn eventually<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let limit = patience(limit);
    let began = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if began.elapsed() >= limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(INTERVAL);
    }
}
