//! Lines that were copied from a terminal, which breaks them where it ends: they are put together again. Pure.

use crate::commands::doctor::logs::decode::decode;
use crate::commands::doctor::logs::record::Form;

/// A terminal that is narrower breaks nothing that is known again.
const NARROWEST: usize = 40;
/// No message has more of them.
const MOST: usize = 100;

/// What waits for its next line.
#[derive(Default)]
pub(super) struct Wrapped(Option<Held>);

struct Held {
    text: String,
    /// Of its first line, and of its last.
    width: usize,
    last: usize,
    lines: usize,
}

impl Wrapped {
    /// One more line; gives the one before where that is whole.
    pub(super) fn feed(&mut self, line: String) -> Option<String> {
        if let Some(held) = self.0.as_mut().filter(|held| held.goes_on(&line)) {
            held.text.push_str(&line);
            (held.last, held.lines) = (line.chars().count(), held.lines + 1);
            return None;
        }
        let width = line.chars().count();
        let next = Held { text: line, width, last: width, lines: 1 };
        self.0.replace(next).map(|held| held.text)
    }

    /// What has waited in vain.
    pub(super) fn end(&mut self) -> Option<String> {
        self.0.take().map(|held| held.text)
    }
}

impl Held {
    /// `line` is the rest of it: the lines before are as wide as a terminal, it begins nothing of its own, and is as wide
    /// too, or closes a quotation that is open.
    fn goes_on(&self, line: &str) -> bool {
        let is_full = self.width >= NARROWEST && self.last == self.width && self.lines < MOST;
        let length = if is_full { line.chars().count() } else { 0 };
        let may_be = length == self.width || (1..self.width).contains(&length) && is_open(&self.text);
        may_be && is_known(&self.text) && !is_known(line)
    }
}

fn is_open(text: &str) -> bool {
    text.replace("\\\"", "").matches('"').count() % 2 == 1
}

/// Whether it is some program's line, by its form.
fn is_known(line: &str) -> bool {
    decode(line)
        .iter()
        .any(|record| record.form != Form::Plain || record.speaker.is_some() || record.sent.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<String> {
        let mut wrapped = Wrapped::default();
        let mut whole: Vec<String> =
            lines.iter().filter_map(|line| wrapped.feed((*line).to_owned())).collect();
        whole.extend(wrapped.end());
        whole
    }

    #[test]
    fn what_a_terminal_has_broken_is_one_line_again() {
        let line = "E1012 10:04:05.123456    1021 log.go:32] \"StopPodSandbox from runtime service failed\" err=\"rpc error\"";
        let broken: Vec<String> =
            line.as_bytes().chunks(40).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let mut lines: Vec<&str> = broken.iter().map(String::as_str).collect();
        lines.push(line);
        assert_eq!(read(&lines), [line, line]);
    }

    #[test]
    fn lines_of_one_width_stay_apart_and_so_does_what_follows_them() {
        let one = "E1012 10:04:05.123456    1021 log.go:32] \"Failed to stop sandbox\"";
        let other = one.replace("05.1", "06.1");
        for lines in [[one, other.as_str(), "goroutine 1 [running]:"], [one, "", other.as_str()]] {
            assert_eq!(read(&lines), lines);
        }
    }
}
