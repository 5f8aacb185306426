//! What came of it.

use anyhow::{Context as _, Result, bail};
use std::{collections::BTreeMap, time::Duration};

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Guards killed, by kind of life and by the step that was under way.
    pub kills: BTreeMap<(String, &'static str), usize>,
    /// Lives that ended before their guard was to be killed.
    pub spared: usize,
    /// Exits that were heard from the guard, and from containerd itself after a guard's death.
    pub exits: (usize, usize),
    /// Exits that were heard from both, and were the same in pid, status and time.
    pub both: usize,
    /// The longest time from a kill until nothing of that life was left.
    pub slowest: Duration,
    /// All that should not be.
    pub failures: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
}

impl Tally {
    /// Guards killed.
    pub fn killed(&self) -> usize {
        self.kills.values().sum()
    }
}

/// For a test: fails with all that should not be.
pub fn assert_clean(tally: &Tally) -> Result<()> {
    if !tally.failures.is_empty() {
        bail!("{} failures:\n{}", tally.failures.len(), tally.failures.join("\n"));
    }
    tally.kills.iter().next().context("no guard was killed").map(drop)
}
