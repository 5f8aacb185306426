//! `metrics`: the node in numbers, printed once or served to whoever scrapes.
//!
//! Sandboxes by state, memory and what is left behind come from the survey that `ls` prints; what was counted comes
//! from the guards, each asked at the same time and given 300 ms. Sums stand per containerd namespace: no label has
//! a sandbox's id, so a node that runs for years has the series that it had on its first day.
//!
//! Guards end with their sandboxes. `--listen` keeps the last word of every guard that it has heard and carries it
//! on when that guard is gone ([`counters`]), so its counters never go down while it runs. A guard sends that word
//! when it ends ([`final_metrics`]): otherwise all that it did since the last scrape were lost, and that is where
//! escalations are. Printed once, counters cover the living guards only, which suits a look by hand. Why not count in
//! a file that all guards share: a pod's guard would have to write it while it works, and could be killed amid that.
//!
//! ```text
//! survey, guards, reports --> gather --> counters --> expose --> print | serve
//!                     final_metrics ------------^
//! ```

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::args::{Metrics, Scope};
use crate::screen;
use crate::survey::{sight, survey};

mod counters;
mod describe;
mod expose;
mod final_metrics;
mod gather;
mod message;
mod samples;
mod serve;

use gather::Gatherer;

/// Prints, or serves until a signal comes.
pub(crate) fn run(scope: &Scope, args: &Metrics) -> Result<ExitCode> {
    sight::clear()?;
    let mut gatherer = Gatherer::new(scope, args);
    if let Some(address) = &args.listen {
        serve::serve(address, gatherer)?;
        return Ok(ExitCode::SUCCESS);
    }
    screen::write(&expose::expose(gatherer.gather(survey)?, args.output)?).context("cannot print")?;
    Ok(ExitCode::SUCCESS)
}
