//! The command line.

use crate::budget::Judge;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

pub(crate) const USAGE: &str = "usage: bench trace --svg PATH
       bench [SECTION...] [--check] [--pairs N] [--pods N] [--requests N] [--json PATH] [--svg PATH]

  latency       what the guard adds to one request, at 1 and at 50 at once
  life          start, exec, stop, remove of a container, of pods of 1, 3 and 10, and of many pods at once:
                unguarded, unguarded with grouping, guarded, in turn
  memory        what guard and real shim weigh
                (without a section: these three)
  commands      how often runsc is run in one life
  ending        from SIGKILL to containerd's TaskExit, by wedge, one and twenty at once
  soak          a stopped sandbox that is asked 100,000 times, guarded and unguarded side by side

  growth        how all this grows with containers, pods and requests: the exponents of what the sections beside it
                measured, or, by itself, of memory, life, ending and soak
  trace         draws one pod's start and stop, unguarded and guarded: requests and processes on one clock
                (by itself, on root's tracefs)

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

    /// Those that measure at several sizes.
    const GROWING: &[Self] = &[Self::Memory, Self::Life, Self::Ending, Self::Soak];

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
    pub(crate) growth: bool,
    trace: bool,
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
            growth: false,
            trace: false,
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
                "trace" => options.trace = true,
                "growth" => options.growth = true,
                name => match Part::named(name) {
                    Some(part) => options.parts.push(part),
                    None => bail!("cannot take {argument:?}\n{USAGE}"),
                },
            }
        }
        if options.trace && (options.svg.is_none() || !options.parts.is_empty()) {
            bail!("trace needs --svg, and goes by itself\n{USAGE}");
        }
        if options.parts.is_empty() {
            options.parts.extend(if options.growth { Part::GROWING } else { &Part::USUAL[..] });
        }
        if options.pairs == 0 {
            options.pairs = if options.check { CHECK_PAIRS } else { PAIRS };
        }
        Ok(Some(options))
    }

    /// Where to draw a trace, if that is what is wanted.
    pub(crate) fn trace(&self) -> Option<&Path> {
        self.svg.as_deref().filter(|_| self.trace)
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
        assert_eq!(parts("growth"), Part::GROWING);
        assert_eq!(parts("growth memory"), [Part::Memory]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--pairs", "--pairs many", "--json", "--chekc", "lif", "trace", "trace life --svg x"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--help").unwrap(), None);
    }
}
