//! What came of each pair, in a file that a later run goes on from: one line for each trial, its fields apart by tabs.

use anyhow::{Context as _, Result};
use faults::matrix::versions::Line;
use harness::Versions;
use std::{fs::File, io::Write as _, path::Path};

/// What came of one pair, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) versions: Versions,
    pub(crate) lines: Vec<Line>,
}

impl Leg {
    pub(crate) fn is_green(&self) -> bool {
        self.lines.iter().all(|line| line.green)
    }

    /// Appends it.
    pub(crate) fn note(&self, path: &Path) -> Result<()> {
        let mut text = format!("{}\t{}\n", self.versions.containerd, self.versions.gvisor);
        for Line { column, green, text: told, why } in &self.lines {
            text += &format!("\t{column}\t{green}\t{told}\t{why}\n");
        }
        let mut file = File::options().create(true).append(true).open(path).context("notes")?;
        // In one write: who is interrupted leaves no half of a pair.
        file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
    }
}

/// All that has run, in that order.
pub(crate) fn read(path: &Path) -> Result<Vec<Leg>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    parse(&std::fs::read_to_string(path)?).with_context(|| format!("{} is no notes", path.display()))
}

fn parse(text: &str) -> Result<Vec<Leg>> {
    let mut legs: Vec<Leg> = Vec::new();
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["", column, green, text, why] => {
                let [column, text, why] = [column, text, why].map(str::to_owned);
                let line = Line { column, green: green.parse()?, text, why };
                legs.last_mut().context("a trial of no pair")?.lines.push(line);
            }
            [containerd, gvisor] => {
                let versions = Versions { containerd: containerd.to_owned(), gvisor: gvisor.to_owned() };
                legs.push(Leg { versions, lines: Vec::new() });
            }
            _ => anyhow::bail!("{line:?}"),
        }
    }
    Ok(legs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        assert_eq!(read(&path).unwrap(), []);
        let line = |green: bool, why: &str| Line {
            column: "drill".to_owned(),
            green,
            text: "2.1 s".to_owned(),
            why: why.to_owned(),
        };
        let versions = Versions { containerd: "2.4.2".to_owned(), gvisor: "2026-09".to_owned() };
        let red = Leg { versions: versions.clone(), lines: vec![line(true, ""), line(false, "late: 9 s")] };
        let green = Leg { versions, lines: vec![line(true, "")] };
        for leg in [&red, &green] {
            leg.note(&path).unwrap();
        }
        assert_eq!(read(&path).unwrap(), [red, green]);
        assert!(parse("\tdrill\ttrue\t2.1 s\t\n").is_err(), "of which pair?");
        assert!(parse("what is this").is_err());
    }
}
