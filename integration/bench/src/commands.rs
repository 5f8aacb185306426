//! How often runsc is run in one life, in containerd's real sequences: what most of a life's time is made of. A wrapper
//! notes each command and becomes runsc.
//!
//! The real shim's own Kill runs `runsc state` before `runsc kill`, so what remains are the States that reached it.

use crate::{
    budget::{self, Finding},
    nodes::{Node, Side},
    section::{Section, Stage},
    subject::Subject,
    table::Table,
};
use anyhow::{Context as _, Result};
use harness::Handler;
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

const SUBJECTS: [Subject; 3] = [Subject::Pod(1), Subject::Pod(3), Subject::Container];
/// `events` is CRI's Stats: how many there are depends on how long the life took, not on who serves it.
const COMMANDS: [&str; 8] = ["create", "start", "state", "exec", "wait", "kill", "kill --all", "delete"];

/// Commands of one life by name.
type Counts = BTreeMap<String, usize>;

struct Life {
    subject: Subject,
    side: Side,
    counts: Counts,
}

impl Life {
    fn count(&self, command: &str) -> usize {
        self.counts.get(command).copied().unwrap_or_default()
    }

    /// States that the real shim was asked for.
    fn states(&self) -> usize {
        self.count("state").saturating_sub(self.count("kill"))
    }
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let mut lives = Vec::new();
    for subject in SUBJECTS {
        for node in stage.nodes.iter().filter(|node| node.side != Side::Grouped) {
            stage.say(format_args!("commands: {subject}, {}", node.side.name()));
            let counts = count(node, subject).with_context(|| format!("{subject}, {}", node.side.name()))?;
            lives.push(Life { subject, side: node.side, counts });
        }
    }
    let json = lives.iter().map(|life| {
        json!({
            "subject": life.subject.to_string(), "side": life.side.name(), "commands": life.counts,
            "states": life.states(),
        })
    });
    Ok(Section {
        json: json!(json.collect::<Vec<_>>()),
        findings: SUBJECTS.iter().filter_map(|subject| finding(&lives, *subject)).collect(),
        tables: vec![table(&lives)],
        ..Section::default()
    })
}

/// One life with a runsc that notes what it is asked.
fn count(node: &Node<'_>, subject: Subject) -> Result<Counts> {
    let (host, name) = (node.host, node.side.name());
    let noted = host.path().join(format!("{name}.commands"));
    let handler =
        || if node.side == Side::Guarded { Handler::guarded(name) } else { Handler::unguarded(name) };
    let wrapper = host.path().join("noting-runsc");
    let runsc = &host.parts().runsc;
    let script = format!("#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n", noted.display(), runsc.display());
    harness::write_script(&wrapper, &script)?;
    std::fs::write(&noted, "")?;
    // The shims read their file for each container.
    host.add_handler(&handler().runsc(&wrapper))?;
    let lived = subject.live(node, NUMBER, 1);
    host.add_handler(&handler())?;
    lived?;
    read(&noted)
}

/// Of a name that no other section uses.
const NUMBER: usize = 1_000_000;

fn read(noted: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in std::fs::read_to_string(noted)?.lines() {
        if let Some(command) = command(line) {
            *counts.entry(command).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The first word that is no flag; whether all processes are meant makes two different commands of `kill`.
fn command(line: &str) -> Option<String> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with('-'));
    let command = words.next()?.to_owned();
    let all = command == "kill" && words.any(|word| matches!(word, "--all" | "-all" | "-a"));
    Some(if all { "kill --all".to_owned() } else { command })
}

fn table(lives: &[Life]) -> Table {
    let head = ["runsc commands in one life", ""].into_iter().chain(COMMANDS).chain(["States"]);
    let mut table = Table::new(head);
    for life in lives {
        let counts = COMMANDS.map(|command| life.count(command).to_string());
        let front = [life.subject.to_string(), life.side.name().to_owned()];
        table.row(front.into_iter().chain(counts).chain([life.states().to_string()]));
    }
    table.notes.push("States: `state` without those that a Kill runs by itself".to_owned());
    table
}

fn finding(lives: &[Life], subject: Subject) -> Option<Finding> {
    let states =
        |side| lives.iter().find(|life| life.subject == subject && life.side == side).map(Life::states);
    let (unguarded, guarded) = (states(Side::Unguarded)?, states(Side::Guarded)?);
    Some(Finding {
        what: format!("{subject}: States"),
        text: format!("{guarded} of {unguarded}, at most {:.2}", budget::STATES),
        held: guarded as f64 <= budget::STATES * unguarded as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_first_word_that_is_no_flag() {
        let of = |line| command(line).unwrap();
        assert_eq!(of("--root=/r --log-format=json state x"), "state");
        assert_eq!(of("--root=/r kill --all x 9"), "kill --all");
        assert_eq!(of("--root=/r kill x 15"), "kill");
        assert_eq!(command("--version"), None);
    }

    #[test]
    fn a_kill_asks_for_the_state_by_itself() {
        let counts =
            Counts::from([("state".to_owned(), 5), ("kill".to_owned(), 2), ("kill --all".to_owned(), 1)]);
        assert_eq!(Life { subject: Subject::Container, side: Side::Guarded, counts }.states(), 3);
    }
}
