//! The command line.

use clap::Parser;
use std::{num::NonZeroUsize, path::PathBuf};

/// Every fault in the middle of every request, on real parts.
#[derive(Debug, Parser)]
#[command(name = "matrix", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
pub(crate) struct Options {
    /// a subset with every pair of fault, request and subject (a third of the time)
    #[arg(long)]
    pub(crate) pairwise: bool,
    /// only cells whose name contains TEXT; several: all of them ("sentry stopped", "x pod")
    #[arg(long = "filter", value_name = "TEXT")]
    pub(crate) filters: Vec<String>,
    /// so many cells at a time, each on a containerd of its own [default: 4 for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// gVisor's own shim instead of the guard: what the guard is for
    #[arg(long)]
    pub(crate) unguarded: bool,
    /// writes the table there: Markdown; with --unguarded what the other tables are set beside
    #[arg(long, value_name = "PATH")]
    pub(crate) save: Option<PathBuf>,
    /// only names the cells, and says why the others cannot be
    #[arg(long)]
    pub(crate) list: bool,
}
