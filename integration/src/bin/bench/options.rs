//! The command line.

use crate::budget::Judge;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: bench [SECTION...] [--check] [--pairs N] [--pods N] [--requests N] [--json PATH] [--svg PATH]

  latency       what the guard adds to one request, at 1 and at 50 at once
  life          start, exec, stop, remove of a container, of pods of 1, 3 and 10, and of many pods at once:
                unguarded, unguarded with grouping, guarded, in turn
  memory        what guard and real shim weigh
                (without a section: these three)
  commands      how often runsc is run in one life
  ending        from SIGKILL to containerd's TaskExit, by wedge, one and twenty at once
  soak          a stopped sandbox that is asked 100,000 times, guarded and unguarded side by side

  --pairs N     at most N pairs (200; with --check 12), fewer if what has a budget is known to 2 % before
  --pods N      so many at once (50)
  --requests N  of the soak (100000)
  --json PATH   writes everything measured, each pair included, there
  --svg PATH    draws it
  --check       short; fails if a ratio is surely too high (the lower end of its interval is above its budget),
                or the guard's RSS or binary is over its budget

The guard is the one that hack/build made, or RUNSC_GUARD_BIN.";

/// So many pairs give an interval that leaves out the two extreme values at each end.
const CHECK_PAIRS: usize = 12;
const PAIRS: usize = 200;
const PODS: usize = 50;
const REQUESTS: usize = 100_000;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Latency,
    Life,
    Memory,
    Commands,
    Ending,
    Soak,
}

impl Part {
    /// Those that a plain run measures.
    const USUAL: [Self; 3] = [Self::Memory, Self::Latency, Self::Life];

    const ALL: [Self; 6] =
        [Self::Memory, Self::Latency, Self::Life, Self::Commands, Self::Ending, Self::Soak];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Life => "life",
            Self::Memory => "memory",
            Self::Commands => "commands",
            Self::Ending => "ending",
            Self::Soak => "soak",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    pub(crate) check: bool,
    pub(crate) pairs: usize,
    pub(crate) pods: usize,
    pub(crate) requests: usize,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    /// `None` if all that is wanted is the usage.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            parts: Vec::new(),
            check: false,
            pairs: 0,
            pods: PODS,
            requests: REQUESTS,
            json: None,
            svg: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--check" => options.check = true,
                "--pairs" => options.pairs = number(&argument, &value()?)?,
                "--pods" => options.pods = number(&argument, &value()?)?,
                "--requests" => options.requests = number(&argument, &value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                name => match Part::named(name) {
                    Some(part) => options.parts.push(part),
                    None => bail!("cannot take {argument:?}\n{USAGE}"),
                },
            }
        }
        if options.parts.is_empty() {
            options.parts.extend(Part::USUAL);
        }
        if options.pairs == 0 {
            options.pairs = if options.check { CHECK_PAIRS } else { PAIRS };
        }
        Ok(Some(options))
    }

    /// Whether the unguarded side is measured with grouping, too.
    pub(crate) fn grouping(&self) -> bool {
        let compares = |part: &Part| matches!(part, Part::Life | Part::Memory);
        !self.check && self.parts.iter().any(compares)
    }

    /// How sure a budget's breach must be to be one.
    pub(crate) fn judge(&self) -> Judge {
        if self.check { Judge::Alarm } else { Judge::Claim }
    }
}

/// At least 1.
fn number(option: &str, text: &str) -> Result<usize> {
    let number: usize = text.parse().with_context(|| format!("{option} {text}"))?;
    Ok(number.max(1))
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
    fn sections_are_chosen_by_name() {
        let parts = |line| parse(line).unwrap().unwrap().parts;
        assert_eq!(parts(""), Part::USUAL);
        assert_eq!(parts("latency --check memory"), [Part::Latency, Part::Memory]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--pairs", "--pairs many", "--json", "--chekc", "lif"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--help").unwrap(), None);
    }
}
