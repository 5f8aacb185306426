//! The command line.

use anyhow::{Context as _, Result, bail};
use faults::kills::Plan;
use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) const USAGE: &str = "usage: kills [--kills N] [--lanes N] [--seed N] [--results FOLDER]

  --kills N         how many guards to kill (1000)
  --lanes N         how many sandboxes live at a time (4)
  --seed N          which lives and moments (the clock)
  --results FOLDER  writes what came of it there, under today's date

The guard is the one that hack/build made, or RUNSC_GUARD_BIN.";

/// What to do.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) plan: Plan,
    pub(crate) results: Option<PathBuf>,
}

impl Options {
    /// `None` if all that is wanted is the usage.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut options = Self { plan: Plan { kills: 1000, lanes: 4, seed: clock }, results: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if let "--help" | "-h" = argument.as_str() {
                return Ok(None);
            }
            let value = arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{argument} {value}"));
            match argument.as_str() {
                "--kills" => options.plan.kills = usize::try_from(number()?)?.max(1),
                "--lanes" => options.plan.lanes = usize::try_from(number()?)?.max(1),
                "--seed" => options.plan.seed = number()?,
                "--results" => options.results = Some(value.into()),
                _ => bail!("cannot take {argument:?}\n{USAGE}"),
            }
        }
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn numbers_and_a_folder() {
        let options = parse("--kills 30 --lanes 2 --seed 7 --results r").unwrap().unwrap();
        assert_eq!((options.plan.kills, options.plan.lanes, options.plan.seed), (30, 2, 7));
        assert_eq!(options.results, Some(PathBuf::from("r")));
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn what_it_cannot_take_is_named() {
        for (line, said) in [("--kills", "--kills"), ("--kills x", "--kills x"), ("--dance 3", "--dance")] {
            assert!(format!("{:#}", parse(line).unwrap_err()).contains(said), "{line}");
        }
    }
}
