//! What the page says, typed word for word: put in is only what it leaves open in capitals.

use crate::cluster::Cluster;
use anyhow::{Result, ensure};
use harness::{Outcome, Page};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

const PAGE: &str = "hack/docs/kubernetes.md";
/// What is left open, and what it is here.
const OPEN: &[(&str, &str)] = &[
    ("REGISTRY", "127.0.0.1:5000"),
    ("LABEL=VALUE", "gvisor=yes"),
    ("KEY:EFFECT", "example.org/stuck:NoSchedule"),
    ("KEY", "example.org/starting"),
];
/// Of the scenario `walk`, on a node without Kubernetes.
const ELSEWHERE: &str = "By hand, without Kubernetes";

/// What was typed, on any cluster.
static TYPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The commands of the block below that heading which begins so.
pub(super) fn commands(heading: &str, beginning: &str) -> Result<Vec<String>> {
    Ok(Page::read(PAGE)?.commands(heading, beginning)?.into_iter().map(filled).collect())
}

fn filled(command: String) -> String {
    OPEN.iter().fold(command, |text, (open, here)| text.replace(open, here))
}

/// No command of the page was left out.
pub(super) fn ensure_whole_page() -> Result<()> {
    let typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
    let all = Page::read(PAGE)?.all_commands();
    let left: Vec<_> = all
        .into_iter()
        .filter(|(heading, _)| heading != ELSEWHERE)
        .map(|(_, command)| filled(command))
        .filter(|command| !typed.contains(command))
        .collect();
    ensure!(left.is_empty(), "{PAGE}: nobody has typed {left:#?}");
    Ok(())
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
        let outcome = self.types_of_page(command)?;
        for line in outcome.stdout.lines().chain(outcome.stderr.lines()).take(40) {
            println!("     {line}");
        }
        Ok(outcome)
    }

    /// The same without showing it.
    pub(super) fn types_of_page(&self, command: &str) -> Result<Outcome> {
        TYPED.lock().unwrap_or_else(PoisonError::into_inner).insert(command.to_owned());
        self.types(command)
    }
}
