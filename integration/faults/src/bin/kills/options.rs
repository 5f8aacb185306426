//! The command line.

use clap::Parser;
use faults::kills::Plan;
use std::{
    num::NonZeroUsize,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Kills guards at random moments of a scripted life on real parts.
#[derive(Debug, Parser)]
#[command(name = "kills", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
pub(crate) struct Options {
    /// how many guards to kill
    #[arg(long, value_name = "N", default_value = "1000")]
    kills: NonZeroUsize,
    /// how many sandboxes live at a time
    #[arg(long, value_name = "N", default_value = "4")]
    lanes: NonZeroUsize,
    /// which lives and moments [default: the clock]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// writes what came of it there, under today's date
    #[arg(long, value_name = "FOLDER")]
    pub(crate) results: Option<PathBuf>,
}

impl Options {
    /// What to do.
    pub(crate) fn plan(&self) -> Plan {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Plan { kills: self.kills.get(), lanes: self.lanes.get(), seed: self.seed.unwrap_or_else(clock) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("kills").chain(line.split_whitespace()))
    }

    #[test]
    fn numbers_and_a_folder() {
        let options = parse("--kills 30 --lanes 2 --seed 7 --results r").unwrap();
        let plan = options.plan();
        assert_eq!((plan.kills, plan.lanes, plan.seed), (30, 2, 7));
        assert_eq!(options.results, Some(PathBuf::from("r")));
        let plan = parse("").unwrap().plan();
        assert_eq!((plan.kills, plan.lanes), (1000, 4));
        assert_eq!(parse("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn what_it_cannot_take_is_named() {
        for (line, said) in [
            ("--kills", "--kills"),
            ("--kills x", "'x' for '--kills"),
            ("--lanes 0", "--lanes"),
            ("--dance 3", "--dance"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(said), "{line}");
        }
    }
}
