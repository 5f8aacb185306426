//! Waiting for facts.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often [`eventually`] looks: short against everything that is measured here, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(10);

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
