//! The short form of `hack/kills`: a few guards are killed at random moments.

use anyhow::Result;
use faults::kills::{self, Plan};

#[test]
fn thirty_guards_are_killed_at_random_moments() -> Result<()> {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    println!("seed {seed}");
    let host = kills::host()?;
    let tally = kills::run(&host, Plan { kills: 30, lanes: 3, seed }, || true)?;
    println!("{tally:#?}");
    kills::assert_clean(&tally)
}
