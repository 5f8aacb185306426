//! The short form of `hack/kills`: a few guards are killed at random moments.

use anyhow::Result;
use faults::kills::{self, Plan};

#[test]
fn thirty_guards_are_killed_at_random_moments() -> Result<()> {
    let host = kills::host()?;
    let tally = kills::run(&host, Plan { kills: 30, lanes: 3, seed: harness::seed() }, || true)?;
    println!("{tally:#?}");
    kills::assert_clean(&tally)
}
