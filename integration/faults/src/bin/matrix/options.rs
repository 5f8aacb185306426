//! The command line.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

pub(crate) const USAGE: &str =
    "usage: matrix [--pairwise | --versions] [--filter TEXT]... [--jobs N] [--unguarded] [--save PATH] [--list]

  --pairwise      a subset with every pair of fault, request and subject (a third of the time)
  --versions      instead: a healthy life, two wedges and two deaths with every version of containerd and gVisor
  --filter TEXT   only cells whose name contains TEXT; several: all of them (\"sentry stopped\", \"x pod\")
  --jobs N        so many cells at a time, each on a containerd of its own (3 for each processor)
  --unguarded     gVisor's own shim instead of the guard: what the guard is for
  --save PATH     writes the table there: Markdown; with --unguarded what the other tables are set beside
  --list          only names the cells, and says why the others cannot be

The guard is the one that hack/build made, or RUNSC_GUARD_BIN.";

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) pairwise: bool,
    pub(crate) versions: bool,
    pub(crate) filters: Vec<String>,
    pub(crate) jobs: Option<usize>,
    pub(crate) unguarded: bool,
    pub(crate) save: Option<PathBuf>,
    pub(crate) list: bool,
}

impl Options {
    /// `None` if all that is wanted is the usage.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            pairwise: false,
            versions: false,
            filters: Vec::new(),
            jobs: None,
            unguarded: false,
            save: None,
            list: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--pairwise" => options.pairwise = true,
                "--versions" => options.versions = true,
                "--unguarded" => options.unguarded = true,
                "--list" => options.list = true,
                "--filter" => options.filters.push(arguments.next().context("--filter needs a text")?),
                "--jobs" => {
                    let text = arguments.next().context("--jobs needs a number")?;
                    let number: usize = text.parse().with_context(|| format!("--jobs {text}"))?;
                    options.jobs = Some(number.max(1));
                }
                "--save" => {
                    options.save = Some(PathBuf::from(arguments.next().context("--save needs a path")?));
                }
                "--help" | "-h" => return Ok(None),
                other => bail!("cannot take {other:?}\n{USAGE}"),
            }
        }
        Ok(Some(options))
    }
}
