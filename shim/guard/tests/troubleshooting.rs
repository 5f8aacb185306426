//! `hack/docs/troubleshooting.md` tells of whatever the guard can say: of each message in the sources some words in a
//! row stand on the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the guard's messages are.
const SOURCES: [&str; 4] = ["src", "../node/src", "../sandbox/src", "../../src/error.rs"];
/// Where `doctor` finds what it finds.
const FINDINGS: &str = "../operator/src/commands/doctor/judge";
/// Only ever the end of another message, which is on the page.
const APART: [&str; 5] = [
    "../node/src/client.rs",
    "../sandbox/src/diagnostics/usage/self_proof.rs",
    "../sandbox/src/sys/file.rs",
    "../sandbox/src/resources/state_file.rs",
    "src/info.rs",
];
/// Where a message begins.
const BEGINS: [&str; 10] = [
    "#[error(",
    "log::error!(",
    "log::warn!(",
    "Level::Error",
    "Level::Warn",
    "let line = format!(",
    "note: Some(format!(",
    "Finding::fail(",
    "Finding::warn(",
    "let what =",
];
/// How soon after that, at the latest; a third argument is what to do about it.
const SOON: usize = 120;
/// So many words in a row are no accident.
const ROW: usize = 3;

#[test]
fn whatever_the_guard_can_say_is_on_the_page() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../../hack/docs/troubleshooting.md")).unwrap();
    let page = words(&page);
    let page: BTreeSet<&[String]> = page.windows(ROW).collect();
    let mut told = 0;
    let mut missing = Vec::new();
    let is_part = |file: &Path| APART.iter().any(|part| file.starts_with(here.join(part)));
    let guards = SOURCES.iter().flat_map(|source| files(&here.join(source))).filter(|file| !is_part(file));
    for file in guards.chain(files(&here.join(FINDINGS))) {
        for message in messages(&fs::read_to_string(&file).unwrap()) {
            let rows = || message.iter().map(|part| words(part));
            let on_page = rows().any(|row| row.windows(ROW).any(|row| page.contains(row)));
            told += usize::from(on_page);
            // What has no three words in a row is no message by itself.
            if !on_page && rows().any(|row| row.len() >= ROW) {
                missing.push(format!("{}: {}", file.display(), message.join("...")));
            }
        }
    }
    assert!(missing.is_empty(), "not in hack/docs/troubleshooting.md:\n{}", missing.join("\n"));
    assert!(told > 40, "only {told} messages were found");
}

/// Sources without their tests.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return vec![path.to_owned()] };
    let is_source = |file: &PathBuf| {
        file.extension().is_some_and(|kind| kind == "rs")
            && !file.ends_with("tests.rs")
            && !file.ends_with("fuzzing.rs")
    };
    entries.flatten().flat_map(|entry| files(&entry.path())).filter(is_source).collect()
}

/// The first literal after each beginning, cut where values are filled in.
fn messages(source: &str) -> Vec<Vec<String>> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let begins = BEGINS.iter().flat_map(|begin| source.match_indices(begin).map(|(at, _)| at + begin.len()));
    let cut = |text: String| {
        let parts =
            text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest).to_owned());
        parts.collect()
    };
    begins.filter_map(|at| literal(&source[at..])).map(cut).collect()
}

fn literal(source: &str) -> Option<String> {
    let is_soon = |at: &usize| *at < SOON && source[..*at].matches(',').count() < 2;
    let begin = source.find('"').filter(is_soon)? + 1;
    let mut text = String::new();
    let mut chars = source[begin..].chars().peekable();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                // The next line of the source goes on with the same one.
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                escaped => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let plain = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect()
}
