//! A text, line by line, to records: lines that are too long are cut, and what stands in several lines is put
//! together again (JSON for people, journald's export, klog's values of several lines, what a runtime has split).

use std::io::{self, BufRead, Read};

use super::decode::decode;
use super::record::{Form, Record};

mod wrapped;

use wrapped::{Wrapped, depth};

/// More of a line is not looked at.
const LONGEST_LINE: u64 = 1 << 20;
/// More lines are not put together to one.
const MOST_LINES: usize = 200;
/// JSON may be longer, in one line or in several: whole exports come so.
const LONGEST_JSON: usize = 32 << 20;

/// What has been read of one text, and what waits for its next line.
#[derive(Default)]
pub(super) struct Reader {
    json: String,
    /// Brackets that are open in it.
    depth: i64,
    /// journald's export: the time of the entry whose message is to come.
    entry_time: Option<String>,
    /// What CRI or Docker has split.
    part: String,
    /// What a terminal has broken into several lines.
    wrapped: Wrapped,
    /// YAML: how often the event was seen whose message is to come.
    count: Option<u64>,
    /// A klog line with a value of several lines, and how many it has.
    open: Option<(Record, usize)>,
}

impl Reader {
    /// Reads all of it; `take` gets every record, and how many lines were read is said even where reading fails.
    pub(super) fn read(log: &mut dyn BufRead, mut take: impl FnMut(Record)) -> (u64, io::Result<()>) {
        let mut reader = Self::default();
        let (mut lines, mut line) = (0, Vec::new());
        let result = loop {
            line.clear();
            match log.take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) if line.is_empty() => break Ok(()),
                // The last line may have no end, and is one for all that.
                Err(error) if line.is_empty() => break Err(error),
                Err(error) => {
                    lines += 1;
                    reader.lines(&String::from_utf8_lossy(&line), &mut take);
                    break Err(error);
                }
                Ok(_) => {}
            }
            lines += 1;
            let mut is_cut = line.last() != Some(&b'\n');
            if is_cut && line.starts_with(b"{") | line.starts_with(b"[") {
                let more = log.take(LONGEST_JSON as u64).read_until(b'\n', &mut line);
                is_cut = more.is_ok() && line.last() != Some(&b'\n');
            }
            if is_cut && let Err(error) = skip_line(log) {
                break Err(error);
            }
            reader.lines(&String::from_utf8_lossy(&line), &mut take);
        };
        reader.end(&mut take);
        (lines, result)
    }

    /// What ends with a carriage return alone is a line too, and a blank of a web page is a blank.
    fn lines(&mut self, text: &str, take: &mut impl FnMut(Record)) {
        let text = text.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}');
        for line in text.split('\r') {
            match line.contains('\u{a0}') {
                true => self.line(&line.replace('\u{a0}', " "), take),
                false => self.line(line, take),
            }
        }
    }

    fn line(&mut self, line: &str, take: &mut impl FnMut(Record)) {
        if self.is_in_json(line) {
            if let Some(line) = self.wrapped.end() {
                self.text(&line, take);
            }
            if self.depth <= 0 {
                let json = std::mem::take(&mut self.json);
                self.decode(&json, take);
            }
            return;
        }
        if let Some(whole) = self.export(line) {
            if let Some(line) = self.wrapped.end() {
                self.text(&line, take);
            }
            self.decode(&whole, take);
            return;
        }
        if let Some(line) = self.joined(line)
            && let Some(whole) = self.wrapped.feed(line)
        {
            self.text(&whole, take);
        }
    }

    fn text(&mut self, line: &str, take: &mut impl FnMut(Record)) {
        let bare = line.trim_start_matches([' ', '-']);
        if let Some(count) = bare.strip_prefix("count: ") {
            self.count = count.parse().ok();
        }
        match self.count.filter(|_| bare.starts_with("message: ")) {
            Some(count) => self.decode(&format!("{line} (x{count} over it)"), take),
            None => self.decode(line, take),
        }
    }

    /// JSON for people begins with a bracket alone.
    fn is_in_json(&mut self, line: &str) -> bool {
        let bare = line.trim();
        if self.json.is_empty() {
            // Brackets of a list around messages are of no interest, and neither is what separates records.
            let bare = bare.trim_start_matches(['\u{1e}', ',']).trim_start_matches("data: ");
            if bare != "{" {
                return false;
            }
            self.depth = 0;
        } else if bare.starts_with('"') && bare.ends_with(": [") {
            // A list in it: each of its members is looked at alone, however many there are.
            self.json.clear();
            return true;
        }
        if self.json.len() + line.len() > LONGEST_JSON {
            self.json.clear();
            return false;
        }
        self.json.push_str(line);
        self.json.push('\n');
        self.depth += depth(line);
        true
    }

    /// `__REALTIME_TIMESTAMP=`, then `MESSAGE=`.
    fn export(&mut self, line: &str) -> Option<String> {
        let bare = line.trim_start();
        if let Some(time) = bare.strip_prefix("__REALTIME_TIMESTAMP=") {
            self.entry_time = Some(time.to_owned());
        }
        let message = bare.strip_prefix("MESSAGE=")?;
        Some(format!("{} {message}", self.entry_time.take().unwrap_or_default()))
    }

    /// CRI's parts, flagged P until the last, which is flagged F.
    fn joined(&mut self, line: &str) -> Option<String> {
        let head = &line[..line.floor_char_boundary(80)];
        for stream in [" stdout ", " stderr "] {
            let Some(at) = head.find(stream).map(|at| at + stream.len()) else { continue };
            let Some(text) = line.get(at + 2..) else { continue };
            if line[at..].starts_with("P ") && self.part.len() < LONGEST_JSON {
                if self.part.is_empty() {
                    self.part = format!("{}F ", &line[..at]);
                }
                self.part.push_str(text);
                return None;
            }
            if line[at..].starts_with("F ") && !self.part.is_empty() {
                return Some(std::mem::take(&mut self.part) + text);
            }
        }
        Some(line.to_owned())
    }

    fn decode(&mut self, line: &str, take: &mut impl FnMut(Record)) {
        for record in decode(line) {
            match self.open.take() {
                // `err=<`, then lines with a tab, then ` > key="value"`.
                Some((mut open, lines)) if record.form == Form::Plain && lines < MOST_LINES => {
                    let text = record.text.trim_start();
                    open.text.push(' ');
                    open.text.push_str(text);
                    match text.starts_with('>') && !text.ends_with("=<") {
                        true => take(open),
                        false => self.open = Some((open, lines + 1)),
                    }
                    continue;
                }
                Some((open, _)) => take(open),
                None => {}
            }
            match record.form == Form::Klog && record.text.trim_end().ends_with("=<") {
                true => self.open = Some((record, 1)),
                false => take(record),
            }
        }
    }

    fn end(&mut self, take: &mut impl FnMut(Record)) {
        if let Some(line) = self.wrapped.end() {
            self.text(&line, take);
        }
        for rest in [std::mem::take(&mut self.json), std::mem::take(&mut self.part)] {
            if !rest.is_empty() {
                self.decode(&rest, take);
            }
        }
        if let Some((open, _)) = self.open.take() {
            take(open);
        }
    }
}

/// What is left of a line that is too long.
fn skip_line(log: &mut dyn BufRead) -> io::Result<()> {
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

#[cfg(test)]
mod tests;
