//! The command line.

use crate::budget::Judge;
use anyhow::Result;
use clap::{CommandFactory as _, Parser, ValueEnum, error::ErrorKind};
use harness::{Parts, Versions};
use std::{
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

/// So many pairs give an interval that leaves out the two extreme values at each end.
const CHECK_PAIRS: usize = 12;
const PAIRS: usize = 200;
/// Pods that start and stop at once, and pods of a full node.
const CROWD: usize = 50;
const MANY: usize = 100;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Latency,
    Life,
    Memory,
    Commands,
    Ending,
    Soak,
    Idle,
    Many,
    Churn,
}

impl Part {
    /// Those that a plain run measures.
    const USUAL: [Self; 3] = [Self::Memory, Self::Latency, Self::Life];

    /// Those of a check: the same, and whether a wedged sandbox ends in time.
    const CHECKED: [Self; 4] = [Self::Memory, Self::Latency, Self::Life, Self::Ending];

    /// Those that measure at several sizes.
    const GROWING: &[Self] = &[Self::Memory, Self::Life, Self::Ending, Self::Soak];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Life => "life",
            Self::Memory => "memory",
            Self::Commands => "commands",
            Self::Ending => "ending",
            Self::Soak => "soak",
            Self::Idle => "idle",
            Self::Many => "many",
            Self::Churn => "churn",
        }
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// what the guard adds to one request, at 1 and at 50 at once
    Latency,
    /// start, exec, stop, remove of a container, of pods of 1, 3 and 10, and of many pods at once: unguarded, unguarded with
    /// grouping, guarded, in turn
    Life,
    /// what guard and real shim weigh (without a section: these three)
    Memory,
    /// how often runsc is run in one life
    Commands,
    /// from SIGKILL to containerd's TaskExit, by wedge, one and twenty at once
    Ending,
    /// a stopped sandbox that is asked 100,000 times, guarded and unguarded side by side
    Soak,
    /// what a node of idle pods spends while CRI asks for their Stats
    Idle,
    /// the same of a node that is full (--pods, --minutes); then all its guarded sandboxes wedged at once
    Many,
    /// pods that live for a second, as many as the processors allow
    Churn,
    /// how all this grows with containers, pods and requests: the exponents of what the sections beside it measured, or, by
    /// itself, of memory, life, ending and soak
    Growth,
    /// draws one pod's start and stop, unguarded and guarded: requests and processes on one clock (by itself, on root's
    /// tracefs)
    Trace,
}

impl Wanted {
    fn part(self) -> Option<Part> {
        Some(match self {
            Self::Latency => Part::Latency,
            Self::Life => Part::Life,
            Self::Memory => Part::Memory,
            Self::Commands => Part::Commands,
            Self::Ending => Part::Ending,
            Self::Soak => Part::Soak,
            Self::Idle => Part::Idle,
            Self::Many => Part::Many,
            Self::Churn => Part::Churn,
            Self::Growth | Self::Trace => return None,
        })
    }
}

/// Measures what the guard costs against the shim that it guards, in pairs, on real parts.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
struct Arguments {
    #[arg(value_name = "SECTION")]
    wanted: Vec<Wanted>,
    /// short; fails if a ratio is surely too high (the lower end of its interval is above its budget), or the guard's RSS or
    /// binary is over its budget
    #[arg(long)]
    check: bool,
    /// at most N pairs [default: 200, with --check 12], fewer if what has a budget is known to 2 % before
    #[arg(long, value_name = "N")]
    pairs: Option<NonZeroUsize>,
    /// so many at once [default: 50, of `many` 100]
    #[arg(long, value_name = "N")]
    pods: Option<NonZeroUsize>,
    /// how long each side of `many` is looked at
    #[arg(long, value_name = "N", default_value = "10")]
    minutes: NonZeroUsize,
    /// of the soak
    #[arg(long, value_name = "N", default_value = "100000")]
    requests: NonZeroUsize,
    /// another gVisor of integration/tools than the newest as one binary: `2026-09-released` is laid out as its tarball is
    #[arg(long, value_name = "VERSION")]
    gvisor: Option<String>,
    /// writes everything measured, each pair included, there
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// draws it
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
}

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    pub(crate) check: bool,
    pub(crate) pairs: usize,
    /// Of the section `life`.
    pub(crate) crowd: usize,
    /// Of the section `many`.
    pub(crate) pods: usize,
    pub(crate) minutes: usize,
    pub(crate) requests: usize,
    gvisor: Option<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) growth: bool,
    trace: bool,
}

impl Options {
    /// Of the arguments, the program's own name first.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let Arguments { wanted, check, pairs, pods, minutes, requests, gvisor, json, svg } =
            Arguments::try_parse_from(arguments)?;
        let (growth, trace) = (wanted.contains(&Wanted::Growth), wanted.contains(&Wanted::Trace));
        let mut parts: Vec<Part> = wanted.into_iter().filter_map(Wanted::part).collect();
        if trace && (svg.is_none() || !parts.is_empty()) {
            let refusal = "trace needs --svg, and goes by itself";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, refusal));
        }
        if parts.is_empty() {
            parts.extend(match (growth, check) {
                (true, _) => Part::GROWING,
                (false, true) => &Part::CHECKED[..],
                (false, false) => &Part::USUAL[..],
            });
        }
        let at_once = |usual| pods.map_or(usual, NonZeroUsize::get);
        let (crowd, pods) = (at_once(CROWD), at_once(MANY));
        let (minutes, requests) = (minutes.get(), requests.get());
        let pairs = pairs.map_or(if check { CHECK_PAIRS } else { PAIRS }, NonZeroUsize::get);
        Ok(Self { parts, check, pairs, crowd, pods, minutes, requests, gvisor, json, svg, growth, trace })
    }

    /// The programs under test.
    pub(crate) fn programs(&self) -> Result<Parts> {
        match &self.gvisor {
            Some(gvisor) => Parts::of(Versions::named(&Versions::newest()?.containerd, gvisor)?),
            None => Parts::pinned(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::parse(std::iter::once("bench").chain(line.split_whitespace()))
    }

    #[test]
    fn a_check_is_short_unless_told_otherwise() {
        let pairs = |line| parse(line).unwrap().pairs;
        assert_eq!(pairs(""), PAIRS);
        assert_eq!(pairs("--check"), CHECK_PAIRS);
        assert_eq!(pairs("--check --pairs 30"), 30);
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let parts = |line| parse(line).unwrap().parts;
        assert_eq!(parts(""), Part::USUAL);
        assert_eq!(parts("--check"), Part::CHECKED);
        assert_eq!(parts("latency --check memory"), [Part::Latency, Part::Memory]);
        assert_eq!(parts("growth"), Part::GROWING);
        assert_eq!(parts("growth memory"), [Part::Memory]);
    }

    #[test]
    fn how_many_depends_on_what_for() {
        let sizes = |line| parse(line).map(|options| (options.crowd, options.pods)).unwrap();
        assert_eq!((sizes(""), sizes("--pods 7")), ((CROWD, MANY), (7, 7)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in
            ["--pairs", "--pods 0", "--pairs many", "--json", "--chekc", "lif", "trace", "trace life --svg x"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
