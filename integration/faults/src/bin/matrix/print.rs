//! The table, for a person; and the record of the unguarded shim, which later tables are set beside.

use anyhow::{Context as _, Result};
use faults::matrix::{Cell, Deadlines, Entry, Report, table as cells};
use harness::{Versions, checkout, kernel, today};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

const RECORD: &str = "hack/results/matrix-unguarded.tsv";
const NOT_RECORDED: &str = "";

/// The table in Markdown. (Writing to a String cannot fail.)
pub(crate) fn table(
    reports: &[Report],
    versions: &Versions,
    guarded: bool,
    took: Duration,
) -> Result<String> {
    let unguarded = Record::read()?;
    let mut text = String::new();
    let who = if guarded { "the guard" } else { "gVisor's own shim" };
    let _ = writeln!(text, "# Fault matrix: {who}, {}\n", today()?);
    let _ =
        writeln!(text, "{}. {} cells in {:.0} s.", under_test(versions)?, reports.len(), took.as_secs_f64());
    if guarded {
        let _ = writeln!(text, "The column *unguarded* is from {}.", unguarded.origin);
    }
    let _ = writeln!(
        text,
        "\n| fault | request in flight | subject | unguarded | ended in | at most | residue | exits | guard | real shim |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for report in reports {
        let beside = if guarded { unguarded.of(&report.cell) } else { NOT_RECORDED };
        row(&mut text, report, beside);
    }
    cannot(&mut text, reports);
    let _ = write!(text, "\n{}", summary(reports, guarded));
    Ok(text)
}

fn row(text: &mut String, report: &Report, beside: &str) {
    let Cell { fault, request, subject, deadlines } = report.cell;
    let defaults = if deadlines == Deadlines::Defaults { ", default deadlines" } else { "" };
    let mib = |kib: u64| if kib == 0 { "-".to_owned() } else { format!("{:.1} MiB", kib as f64 / 1024.0) };
    let _ = writeln!(
        text,
        "| {fault} | {request} | {subject}{defaults} | {beside} | {} | {:.0} s | {} | {} of {} | {} | {} |",
        report.ending(),
        report.promised.as_secs_f64(),
        residue(report),
        report.exits.published,
        report.exits.started,
        mib(report.weight.guard),
        mib(report.weight.real_shim),
    );
}

/// How many of what kind.
fn residue(report: &Report) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in &report.residue {
        let kind = ["runsc file", "guard file"].into_iter().find(|kind| line.starts_with(kind));
        let kind = kind.or_else(|| line.split(' ').next()).unwrap_or_default();
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    if kinds.is_empty() {
        return "none".to_owned();
    }
    kinds.iter().map(|(kind, count)| format!("{count} x {kind}")).collect::<Vec<_>>().join(", ")
}

/// Why the rest is not there, said once for all cells with the same reason.
fn cannot(text: &mut String, reports: &[Report]) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entry in cells::whole() {
        if let Entry::Cannot(cell, why) = entry {
            reasons.entry(why).or_default().push(cell.to_string());
        }
    }
    let ran = reports.iter().filter(|report| report.cell.deadlines == Deadlines::Short).count();
    let all = cells::whole().len();
    let _ = writeln!(text, "\n{ran} of {all} combinations ran. These cannot be:\n");
    for (why, cells) in reasons {
        let _ = writeln!(text, "- {}: {why}.", cells.join("; "));
    }
}

fn summary(reports: &[Report], guarded: bool) -> String {
    let mut text = String::new();
    let green = reports.iter().filter(|report| report.is_green()).count();
    let most = |of: fn(&Report) -> u64| reports.iter().map(of).max().unwrap_or_default() as f64 / 1024.0;
    let ended = reports.iter().filter(|report| report.ended.is_some()).count();
    if !guarded {
        let clean =
            reports.iter().filter(|report| report.ended.is_some() && report.residue.is_empty()).count();
        let _ = writeln!(
            text,
            "{} cells: {ended} ended, {clean} of them without residue; {} did not end.",
            reports.len(),
            reports.len() - ended
        );
        return text;
    }
    let bit = reports.iter().filter(|report| report.bit).count();
    let counted = reports.iter().filter(|report| report.bit && report.is_green()).count();
    let _ = writeln!(
        text,
        "{counted} of {bit} cells are green whose fault was felt by somebody. The other {} prove nothing, and {} of them are \
         green, too. At most {:.1} MiB resident in a guard, {:.1} MiB in a real shim.",
        reports.len() - bit,
        green - counted,
        most(|report| report.weight.guard),
        most(|report| report.weight.real_shim)
    );
    let again: Vec<&Report> = reports.iter().filter(|report| !report.beside_others.is_empty()).collect();
    if !again.is_empty() {
        let _ = writeln!(text, "{} were too slow beside others, and so ran again alone:", again.len());
    }
    for report in again {
        let _ = writeln!(text, "    {}: {}", report.cell, report.beside_others.join("; "));
    }
    for report in reports.iter().filter(|report| !report.is_green()) {
        let _ = writeln!(text, "RED {report}");
    }
    text
}

/// What the unguarded shim did, by the cell's name.
struct Record {
    origin: String,
    cells: BTreeMap<String, String>,
}

impl Record {
    fn read() -> Result<Self> {
        let path = checkout().join(RECORD);
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(Self { origin: "nowhere yet".to_owned(), cells: BTreeMap::new() });
        };
        let mut lines = text.lines();
        let origin = lines.next().context("an empty record")?.trim_start_matches("# ").to_owned();
        let cells = lines.filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned()));
        Ok(Self { origin, cells: cells.collect() })
    }

    fn of(&self, cell: &Cell) -> &str {
        let name = Cell { deadlines: Deadlines::Short, ..*cell }.to_string();
        self.cells.get(&name).map_or(NOT_RECORDED, String::as_str)
    }
}

/// One line for each cell of an unguarded run: its name, a tab, what came of it.
pub(crate) fn record(reports: &[Report], versions: &Versions) -> Result<String> {
    let mut text = format!("# {}: {}\n", today()?, under_test(versions)?);
    for report in reports {
        let left = residue(report);
        let _ = match report.ended {
            Some(ended) => {
                let felt = if report.bit { "" } else { ", fault not felt" };
                writeln!(text, "{}\tended in {:.1} s, residue {left}{felt}", report.cell, ended.as_secs_f64())
            }
            None if report.waited.is_zero() => {
                let why = report.wrong.first().map_or("", String::as_str);
                let why: String = why.chars().filter(|c| !c.is_control()).take(120).collect();
                writeln!(text, "{}\tdid not get so far: {why}", report.cell)
            }
            None => {
                let after = report.waited.as_secs_f64();
                writeln!(text, "{}\twedged after {after:.0} s, residue {left}", report.cell)
            }
        };
    }
    Ok(text)
}

/// What was under test.
fn under_test(versions: &Versions) -> Result<String> {
    Ok(format!("{versions}, Linux {}", kernel()?))
}
