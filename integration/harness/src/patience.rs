//! Waiting for facts.

use anyhow::Result;
use std::{
    fmt,
    time::{Duration, Instant},
};

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

/// What was waited for has not come: the one error that only says that time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// How long it was waited for.
    pub limit: Duration,
    /// For what.
    pub what: String,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not within {:?}: {}", self.limit, self.what)
    }
}

impl std::error::Error for Late {}

/// Looks until `probe` gives a value, or fails after `limit` (scaled by [`patience`]) saying `what` did not come.
pub fn eventually<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> Result<T> {
    promised(patience(limit), what, probe)
}

/// The same of what is promised: nothing stretches its limit.
pub fn promised<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if began.elapsed() >= limit {
            return Err(Late { limit, what: what.to_owned() }.into());
        }
        std::thread::sleep(INTERVAL);
    }
}
