//! `doctor --logs`: whether kubelet's or containerd's log tells of pods that do not end. A line at a time, in memory
//! that does not grow with the log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::print::{self, exit_code, write};
use crate::args::{Doctor, Form};
use crate::paint;

mod classify;
mod line;
mod tally;

use tally::{Report, Tally};

/// More of a line is not looked at.
const LONGEST_LINE: u64 = 64 << 10;

/// Reads all of them, then prints.
pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
    let mut tally = Tally::default();
    for file in &args.logs {
        let failed = || format!("cannot read {}", file.display());
        if file == Path::new("-") {
            read(&mut io::stdin().lock(), &mut tally).context("cannot read standard input")?;
        } else {
            read(&mut BufReader::new(File::open(file).with_context(failed)?), &mut tally)
                .with_context(failed)?;
        }
    }
    let report = tally.report();
    write(&match args.output {
        Form::Text => text(&report),
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(exit_code([report.verdict.level]))
}

fn read(log: &mut impl BufRead, tally: &mut Tally) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            skip_line(log)?;
        }
        tally.take(&String::from_utf8_lossy(&line));
    }
}

/// What is left of a line that is too long.
fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = log.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (length, is_over) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
        log.consume(length);
        if is_over {
            return Ok(());
        }
    }
}

fn text(report: &Report) -> String {
    let verdict = print::text(std::slice::from_ref(&report.verdict));
    if report.subjects.is_empty() {
        return verdict;
    }
    let mut builder = Builder::default();
    builder.push_record(["POD OR SANDBOX", "TIMES", "FIRST", "LAST", "WHAT"].map(paint::heading));
    for one in &report.subjects {
        let what: Vec<String> =
            one.kinds.iter().map(|(kind, times)| format!("{} ({times})", kind.words())).collect();
        let time = |time: &Option<String>| paint::plain(time.as_deref().unwrap_or("-"));
        let name = paint::plain(&one.name);
        builder.push_record([
            name,
            one.times.to_string(),
            time(&one.first),
            time(&one.last),
            what.join("; "),
        ]);
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    let table: String = table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let untold = match report.untold {
        0 => String::new(),
        more => format!("and {more} lines about others, which are too many to tell apart\n"),
    };
    format!("{table}{untold}\n{verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_end_is_cut_and_the_next_is_read() {
        let stop = |id: char| {
            let id = id.to_string().repeat(64);
            format!(
                "time=\"t\" level=error msg=\"StopPodSandbox for \\\"{id}\\\" failed\" error=\"rpc error: code = DeadlineExceeded\"\n"
            )
        };
        let long = "x".repeat(3 * LONGEST_LINE as usize);
        let log = format!("{}{long}\n{}{}", stop('a'), stop('b'), stop('c').trim_end());
        let mut tally = Tally::default();
        read(&mut BufReader::with_capacity(1000, log.as_bytes()), &mut tally).unwrap();
        let report = tally.report();
        assert_eq!((report.lines, report.subjects.len()), (4, 3));
        let plain = anstream::adapter::strip_str(&text(&report)).to_string();
        assert!(plain.starts_with("POD OR SANDBOX") && plain.contains(&"b".repeat(64)), "{plain}");
    }
}
