//! What one scenario was answered, in words that do not differ from run to run, so that two handlers can be
//! compared line by line.

use crate::Outcome;
use anyhow::{Result, ensure};

/// The answers in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    lines: Vec<String>,
    /// What to write instead of what: ids, folders.
    names: Vec<(String, String)>,
}

impl Transcript {
    /// Writes `instead` wherever `text` stands from now on.
    pub fn rename(&mut self, text: &str, instead: &str) {
        self.names.push((text.to_owned(), instead.to_owned()));
    }

    /// One answer.
    pub fn note(&mut self, what: &str, answer: impl std::fmt::Display) {
        let mut line = format!("{what}: {answer}");
        for (text, instead) in &self.names {
            line = line.replace(text, instead);
        }
        self.lines.push(line);
    }

    /// What a program answered: code, output, and errors without ctr's own log.
    pub fn outcome(&mut self, what: &str, outcome: &Outcome) {
        let errors: Vec<&str> = outcome.stderr.lines().filter(|line| !line.starts_with("time=")).collect();
        self.note(what, format!("{:?} {:?} {:?}", outcome.code(), outcome.stdout, errors));
    }

    /// Fails at the first line in which the two differ.
    pub fn assert_same(&self, other: &Self) -> Result<()> {
        let lines = self.lines.len().max(other.lines.len());
        for at in 0..lines {
            let (one, two) = (self.lines.get(at), other.lines.get(at));
            ensure!(one == two, "answer {at} differs:\n  {one:?}\n  {two:?}");
        }
        Ok(())
    }
}

impl std::fmt::Display for Transcript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
