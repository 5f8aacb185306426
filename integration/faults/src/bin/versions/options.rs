//! The command line.

use clap::Parser;
use std::{num::NonZeroUsize, path::PathBuf};

/// Every pinned containerd with every pinned gVisor, on real parts.
#[derive(Debug, Parser)]
#[command(name = "versions", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
pub(crate) struct Options {
    /// only pairs whose name contains TEXT; several: all of them ("containerd 2.3", "released")
    #[arg(long = "filter", value_name = "TEXT")]
    pub(crate) filters: Vec<String>,
    /// so many cells at a time, each on a containerd of its own [default: 4 for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// gVisor's own shim instead of the guard: what the guard is for
    #[arg(long)]
    pub(crate) unguarded: bool,
    /// notes there what came of each pair, and runs no pair that stands there as green
    #[arg(long, value_name = "FILE")]
    pub(crate) notes: Option<PathBuf>,
    /// begins no pair after so many minutes; the next run goes on from the notes
    #[arg(long, value_name = "N")]
    pub(crate) minutes: Option<u64>,
    /// writes the table there, under today's date, once every pair has run
    #[arg(long, value_name = "FOLDER")]
    pub(crate) results: Option<PathBuf>,
    /// only names the pairs
    #[arg(long)]
    pub(crate) list: bool,
}
