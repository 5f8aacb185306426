//! The command line.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: bench [--check] [--pairs N] [--json PATH]

  --pairs N     at most N pairs (200; with --check 12), fewer if what has a budget is known to 2 % before
  --json PATH   writes everything measured, each pair included, there
  --check       short; fails if a ratio is surely too high (the lower end of its interval is above 1.05),
                or the guard's RSS or binary is over its budget

The guard is the one that hack/build made, or RUNSC_GUARD_BIN.";

/// So many pairs give an interval that leaves out the two extreme values at each end.
const CHECK_PAIRS: usize = 12;
const PAIRS: usize = 200;

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) check: bool,
    pub(crate) pairs: usize,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// `None` if all that is wanted is the usage.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let (mut check, mut pairs, mut json) = (false, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--check" => check = true,
                "--pairs" => {
                    let text = arguments.next().context("--pairs needs a number")?;
                    let number: usize = text.parse().with_context(|| format!("--pairs {text}"))?;
                    pairs = Some(number.max(1));
                }
                "--json" => json = Some(PathBuf::from(arguments.next().context("--json needs a path")?)),
                "--help" | "-h" => return Ok(None),
                other => bail!("cannot take {other:?}\n{USAGE}"),
            }
        }
        let pairs = pairs.unwrap_or(if check { CHECK_PAIRS } else { PAIRS });
        Ok(Some(Self { check, pairs, json }))
    }

    /// How many pods there are on the node when their shims are weighed.
    pub(crate) fn pods_to_weigh(&self) -> &'static [usize] {
        if self.check { &[1] } else { &[1, 5] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_check_is_short_unless_told_otherwise() {
        let pairs = |line| parse(line).unwrap().unwrap().pairs;
        assert_eq!(pairs(""), PAIRS);
        assert_eq!(pairs("--check"), CHECK_PAIRS);
        assert_eq!(pairs("--check --pairs 30"), 30);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--pairs", "--pairs many", "--json", "--chekc"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--help").unwrap(), None);
    }
}
