//! Reports for reading. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use runsc_guard_node::report::{Moment, Report, Step, What};
use runsc_guard_sandbox::diagnostics::processes::{Thread, Witness};
use runsc_guard_sandbox::diagnostics::stacks::Dump;

use super::goroutines::groups;
use super::stored::Stored;
use crate::paint::{failure, faint, heading, plain, span, success};
use crate::screen::short_id;

/// Groups of goroutines shown; all of them are in the file, and in `-o json`.
const GROUPS: usize = 8;
/// The length of an id that CRI gives.
const ID: usize = 64;
/// Names shown of what was released.
const NAMES: usize = 4;

/// Time, sandbox, verdict and how it ended.
pub(crate) fn line(stored: &Stored) -> String {
    let at = humantime::format_rfc3339_seconds(stored.taken_at());
    let Report { namespace, sandbox, .. } = &stored.report;
    let name = heading(&plain(&format!("{namespace}/{sandbox}")));
    format!("{at}  {name}  {}{}\n", plain(&stored.verdict), outcome(&stored.report))
}

fn outcome(report: &Report) -> String {
    match (report.ended_ms, report.left.len()) {
        _ if report.only_looked => faint("; only looked at"),
        (Some(ended), 0) => {
            let took = Duration::from_millis(ended.saturating_sub(report.taken_at_ns / 1_000_000));
            success(&format!("; gone in {}", span(took)))
        }
        (_, 0) => faint("; its end is not written down (yet)"),
        (_, left) => failure(&format!("; {left} left")),
    }
}

/// All of it.
pub(crate) fn full(stored: &Stored) -> String {
    let report = &stored.report;
    let mut text = line(stored);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {}", faint(&stored.file.display().to_string()));
    if !report.sign.is_empty() {
        let waited = Duration::from_millis((report.taken_at_ns / 1_000_000).saturating_sub(report.since_ms));
        let _ = writeln!(text, "  {}, for {}", short(&plain(&report.sign)), span(waited));
    }
    if !report.runsc_version.is_empty() {
        let _ = writeln!(text, "  runsc {}", plain(&report.runsc_version));
    }
    timeline(&mut text, report);
    steps(&mut text, report);
    section(&mut text, "Released", &report.released.iter().map(released).collect::<Vec<_>>());
    section(&mut text, "Left", &report.left);
    if !report.diagnostics.processes.is_empty() {
        let _ = writeln!(text, "\n{}", heading("Processes, before anything was touched"));
    }
    report.diagnostics.processes.iter().for_each(|witness| process(&mut text, witness));
    if report.diagnostics.omitted > 0 {
        let _ = writeln!(text, "  and {} more processes", report.diagnostics.omitted);
    }
    dump(&mut text, "Goroutines of the real shim", &report.goroutines);
    dump(&mut text, "Stacks of the sentry", &report.stacks);
    text + "\n"
}

fn section(text: &mut String, name: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", heading(name));
    for line in lines {
        let _ = writeln!(text, "  {}", short(&plain(line)));
    }
}

/// In columns: when, counted from the first request; what; and until when.
fn timeline(text: &mut String, report: &Report) {
    let asked = report.timeline.iter().filter(|one| matches!(one.what, What::Asked | What::Awaited));
    let Some(first) = asked.chain(&report.timeline).map(|one| one.at_ms).next() else { return };
    let row = |Moment { at_ms, what, text, due_ms }: &Moment| {
        let due = due_ms.map(|due| format!(", due {}", apart(due, first))).unwrap_or_default();
        let what = match what {
            What::Asked => "asked",
            What::Awaited => "awaited",
            What::Forwarded => "forwarded",
            What::Answered => "answered",
            What::Happened => "",
        };
        format!("{:>9}  {what:<9}  {text}{due}", apart(*at_ms, first))
    };
    let mut rows: Vec<String> = report.timeline.iter().map(row).collect();
    if report.moments_omitted > 0 {
        rows.push(format!("and {} more", report.moments_omitted));
    }
    section(text, "Timeline", &rows);
}

/// An id of CRI's fills a line by itself.
fn short(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split_inclusive(|one: char| !one.is_ascii_hexdigit()) {
        let digits = word.trim_end_matches(|one: char| !one.is_ascii_hexdigit());
        match digits.len() {
            ID => kept.extend([short_id(digits), &word[ID..]]),
            _ => kept.push_str(word),
        }
    }
    kept
}

/// `+1.234s`, from the first request.
fn apart(at_ms: u64, first: u64) -> String {
    let (sign, apart) = if at_ms < first { ('-', first - at_ms) } else { ('+', at_ms - first) };
    format!("{sign}{}.{:03}s", apart / 1000, apart % 1000)
}

fn steps(text: &mut String, report: &Report) {
    let began = report.taken_at_ns / 1_000_000;
    let row = |Step { step, began_ms, budget_ms, took_ms, times, left }: &Step| {
        let took = took_ms.map_or("did not come back".to_owned(), |took| format!("{took} ms"));
        let times = if *times > 1 { format!(", {times} times") } else { String::new() };
        let left = if left.is_empty() { String::new() } else { format!("; left: {}", left.join("; ")) };
        let step = step.replace('_', " ");
        format!("{step:<12}  {:>9}  {took:>8} of {budget_ms} ms{times}{left}", apart(*began_ms, began))
    };
    section(text, "Steps", &report.steps.iter().map(row).collect::<Vec<_>>());
}

fn released(one: &runsc_guard_sandbox::resources::inventory::Released) -> String {
    let more = one.count.saturating_sub(NAMES);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let names: Vec<&str> = one.names.iter().take(NAMES).map(String::as_str).collect();
    format!("{} {}: {}{more}", one.count, one.kind, names.join(", "))
}

fn process(text: &mut String, witness: &Witness) {
    let Witness { pid, role, age_s, frozen, command, threads, .. } = witness;
    let frozen = if *frozen { ", frozen" } else { "" };
    let age = span(Duration::from_secs(*age_s));
    let _ = writeln!(text, "  {} {age}{frozen}", heading(&format!("{role} {pid}")));
    if !command.is_empty() {
        let _ = writeln!(text, "    {}", faint(&plain(command)));
    }
    for Thread { tid, state, wchan, stack } in threads {
        let wchan = wchan.as_ref().map(|wchan| format!(" in {wchan}")).unwrap_or_default();
        let _ = writeln!(text, "    thread {tid} {state}{}", plain(&wchan));
        for frame in stack.iter().flat_map(|stack| stack.lines()) {
            let _ = writeln!(text, "      {}", plain(frame));
        }
    }
}

fn dump(text: &mut String, name: &str, dump: &Dump) {
    let groups = groups(&dump.text);
    let count: usize = groups.iter().map(|group| group.count).sum();
    let mut rows: Vec<String> = groups
        .iter()
        .take(GROUPS)
        .map(|group| {
            let minutes = if group.minutes > 0 { format!(", {} min", group.minutes) } else { String::new() };
            format!("{:>5} x {}{minutes}: {}", group.count, group.state, group.path())
        })
        .collect();
    if groups.len() > GROUPS {
        rows.push(format!("and {} more kinds; all of them with -o json", groups.len() - GROUPS));
    }
    if dump.truncated {
        rows.push("there were more, which were not kept".to_owned());
    }
    rows.extend(Some(dump.note.clone()).filter(|note| !note.is_empty()));
    let name = if count > 0 { format!("{name} ({count})") } else { name.to_owned() };
    section(text, &name, &rows);
}

#[cfg(test)]
mod tests;
