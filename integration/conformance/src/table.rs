//! What came of it, for hack/results.

use crate::specs::{End, Specs, count, lost};
use anyhow::Result;
use harness::Versions;
use std::{collections::BTreeSet, fmt::Write as _, process::Command};

/// Both sides with one containerd.
pub(crate) struct Leg {
    pub(crate) versions: Versions,
    pub(crate) unguarded: Specs,
    pub(crate) guarded: Specs,
    /// What was tried once more under the guard.
    pub(crate) again: Vec<String>,
}

impl Leg {
    /// What passes unguarded passes guarded.
    pub(crate) fn is_green(&self) -> bool {
        lost(&self.unguarded, &self.guarded).is_empty()
    }
}

/// Totals, and a line for each spec that anybody passes. (Writing to a String cannot fail.)
pub(crate) fn text(legs: &[Leg]) -> Result<String> {
    let said = |command: &mut Command| harness::run(command, b"", harness::SHORTLY)?.ok();
    let today = said(Command::new("date").args(["-u", "+%F"]))?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut text = format!(
        "# CRI conformance: critest under gVisor's own shim and under the guard, {}\n\nLinux {}. Skipped are specs of what the node lacks, by critest's own words.\n\n",
        today.trim(),
        kernel.trim().split('-').next().unwrap_or_default(),
    );
    text += "| | gVisor's shim: passed | failed | skipped | guard: passed | failed | skipped | lost | tried twice |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for leg in legs {
        let sides = [&leg.unguarded, &leg.guarded].map(|side| {
            [End::Passed, End::Failed, End::Skipped].map(|end| count(side, end).to_string()).join(" | ")
        });
        let lost = lost(&leg.unguarded, &leg.guarded).len();
        let _ = writeln!(text, "| {} | {} | {lost} | {} |", leg.versions, sides.join(" | "), leg.again.len());
    }
    for leg in legs {
        for name in lost(&leg.unguarded, &leg.guarded) {
            let _ = writeln!(text, "\n    LOST {}: {name}", leg.versions);
        }
        for name in &leg.again {
            let _ = writeln!(text, "\n    twice {}: {name}", leg.versions);
        }
    }
    let names: BTreeSet<&String> =
        legs.iter().flat_map(|leg| leg.unguarded.keys().chain(leg.guarded.keys())).collect();
    text += "\nEach spec: under gVisor's shim/under the guard, `+` passed, `-` failed, `s` skipped, in the order of the table.\n\n";
    for name in names {
        let marks =
            legs.iter().map(|leg| format!("{}/{}", mark(&leg.unguarded, name), mark(&leg.guarded, name)));
        let _ = writeln!(text, "    {}  {name}", marks.collect::<Vec<_>>().join(" "));
    }
    Ok(text)
}

fn mark(specs: &Specs, name: &str) -> char {
    match specs.get(name) {
        Some(End::Passed) => '+',
        Some(End::Failed) => '-',
        Some(End::Skipped) => 's',
        None => ' ',
    }
}
