//! What the page says, typed word for word: put in is only what it leaves open in capitals.

use crate::cluster::Cluster;
use anyhow::Result;
use harness::{Outcome, Page};

const PAGE: &str = "hack/docs/kubernetes.md";
/// What is left open, and what it is here.
const OPEN: &[(&str, &str)] = &[("REGISTRY", "127.0.0.1:5000"), ("LABEL=VALUE", "gvisor=yes")];

/// The commands of the block below that heading which begins so.
pub(super) fn commands(heading: &str, beginning: &str) -> Result<Vec<String>> {
    let commands = Page::read(PAGE)?.commands(heading, beginning)?;
    let fill = |command: String| OPEN.iter().fold(command, |text, (open, here)| text.replace(open, here));
    Ok(commands.into_iter().map(fill).collect())
}

impl Cluster {
    /// Types all of a block; each command has to succeed. What they print.
    pub(super) fn does_block(&self, heading: &str, beginning: &str) -> Result<Vec<String>> {
        commands(heading, beginning)?.iter().map(|command| self.says(command)?.ok()).collect()
    }

    /// Types those commands of a block that begin so.
    pub(super) fn types_of_block(&self, heading: &str, beginning: &str, which: &str) -> Result<Vec<Outcome>> {
        let commands = commands(heading, beginning)?;
        commands
            .iter()
            .filter(|command| command.starts_with(which))
            .map(|command| self.says(command))
            .collect()
    }

    fn says(&self, command: &str) -> Result<Outcome> {
        println!("   $ {}", command.split_whitespace().collect::<Vec<_>>().join(" "));
        let outcome = self.types(command)?;
        for line in outcome.stdout.lines().chain(outcome.stderr.lines()).take(40) {
            println!("     {line}");
        }
        Ok(outcome)
    }
}
