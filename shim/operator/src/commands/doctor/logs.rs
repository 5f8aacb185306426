//! `doctor --logs`: whether kubelet's, an engine's or the kernel's log tells of pods that do not end.
//!
//! ```text
//! input (files, folders, compressed or not) --> reader (lines) --> decode (envelopes off) --> record
//! record --> signs (what it tells) and names (of whom) --> tally --> subjects (one pod's names joined)
//! subject --> judge (tries counted, causes weighed) --> verdict (findings) --> print
//! ```
//!
//! Only `input` and this file touch the world. Memory does not grow with a log: see the limits in `reader`, `tally`
//! and `subjects`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::print::{self, exit_code, write};
use crate::args::{Doctor, Form};
use crate::paint;
use crate::screen;

mod cause;
mod decode;
mod fact;
mod input;
mod judge;
mod names;
mod pod;
mod reader;
mod record;
mod signs;
mod subjects;
mod tally;
mod time;
mod verdict;

use pod::Pod;
use reader::Reader;
use tally::Tally;
use verdict::{Report, Unread};

/// Letters of a name in the table: its findings have it whole.
const NAME: usize = 17;
/// Letters of a time in the table.
const TIME: usize = 19;

/// Reads all of them, then prints.
pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
    let report = read(&args.logs);
    write(&match args.output {
        Form::Text => screen::fitted(&text(&report)),
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(exit_code(report.levels()))
}

fn read(paths: &[impl AsRef<Path>]) -> Report {
    let mut tally = Tally::default();
    let mut unread = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        if path == Path::new("-") {
            read_one("standard input", input::text(io::stdin()), &mut tally, &mut unread);
            continue;
        }
        let (files, errors) = input::files(path);
        for (folder, error) in errors {
            unread.push(Unread { name: folder.display().to_string(), error: error.to_string(), lines: 0 });
        }
        for file in files {
            read_one(&file.display().to_string(), input::open(&file), &mut tally, &mut unread);
        }
    }
    verdict::report(&tally, &unread)
}

fn read_one(name: &str, log: io::Result<Box<dyn io::BufRead>>, tally: &mut Tally, unread: &mut Vec<Unread>) {
    tally.begin();
    let (lines, result) = match log {
        Ok(mut log) => Reader::read(&mut log, |record| tally.take(record)),
        Err(error) => (0, Err(error)),
    };
    if let Err(error) = result {
        unread.push(Unread { name: name.to_owned(), error: error.to_string(), lines });
    }
}

fn text(report: &Report) -> String {
    let findings = print::text(&report.findings);
    if report.subjects.is_empty() {
        return findings;
    }
    let mut builder = Builder::default();
    builder.push_record(["POD OR SANDBOX", "TRIES", "LAST", "WHAT"].map(paint::heading));
    for one in &report.subjects {
        builder.push_record(row(one));
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    let table: String = table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let untold = match report.untold {
        0 => String::new(),
        more => format!("and {more} lines more, which are too many to look at\n"),
    };
    format!("{table}{untold}\n{findings}")
}

fn row(one: &Pod) -> [String; 4] {
    let short = |text: &str, most: usize| match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}..", paint::plain(&text[..at])),
        None => paint::plain(text),
    };
    let last = one.last.as_deref().unwrap_or("-");
    let last = paint::plain(&last.chars().take(TIME).collect::<String>());
    [short(&one.name, NAME), one.tries.to_string(), last, one.what()]
}

#[cfg(test)]
mod tests;
