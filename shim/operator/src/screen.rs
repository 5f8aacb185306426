//! The terminal on standard output: text that fits its width, and a picture that is drawn over the last one. Where
//! standard output is none, text stays as it is.

use std::io::{self, Write as _};

use anstream::{AutoStream, ColorChoice};

/// Cursor home; what follows is shown at once by terminals that know how to (others ignore it), and a line that is too
/// long is cut by the terminal: going on below it would move all others.
const BEGIN: &str = "\x1b[?2026h\x1b[?7l\x1b[H";
/// Clear what is left of a line, and what is below the last one.
const LINE_END: &str = "\x1b[K";
const END: &str = "\x1b[J\x1b[?7h\x1b[?2026l";
/// Clear all of it: after a change of its size, lines are no more where they were.
const CLEAR: &str = "\x1b[2J";
/// Where a line goes on: so much further to the right than it began.
const HANG: usize = 2;

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Of the terminal, if there is one.
pub(crate) fn size() -> Option<Size> {
    let (width, height) = terminal_size::terminal_size_of(io::stdout())?;
    Some(Size { columns: usize::from(width.0).max(20), rows: usize::from(height.0).max(2) })
}

/// Whether it can be drawn on.
pub(crate) fn is_drawn_on() -> bool {
    size().is_some() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// As wide as the terminal.
pub(crate) fn fitted(text: &str) -> String {
    size().map_or_else(|| text.to_owned(), |size| wrapped(text, size.columns))
}

/// Writes to whoever still reads, and whether there is somebody.
pub(crate) fn write(text: &str) -> io::Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// A line for whoever still reads. That nobody does, or that it cannot be written, stops no command half way.
pub(crate) fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// The same on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Draws `text` over what was drawn before; what does not fit is counted.
pub(crate) fn draw(text: &str, size: Size, was: Option<Size>) -> io::Result<()> {
    let plain = AutoStream::choice(&io::stdout()) == ColorChoice::Never;
    let text = if plain { anstream::adapter::strip_str(text).to_string() } else { text.to_owned() };
    let clear = if was == Some(size) { "" } else { CLEAR };
    let mut out = io::stdout().lock();
    // In one piece: nobody sees half of it.
    out.write_all(format!("{BEGIN}{clear}{}{END}", picture(&text, size)).as_bytes())?;
    out.flush()
}

/// The lines that fit, each cleared to its end. The last row stays empty, or the terminal would scroll.
fn picture(text: &str, size: Size) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = size.rows - 1;
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut picture: String = lines[..shown].iter().map(|line| format!("{line}{LINE_END}\r\n")).collect();
    if shown < lines.len() {
        picture += &format!("and {} more lines{LINE_END}\r\n", lines.len() - shown);
    }
    picture
}

/// Lines that are too long go on below, between words; a word that is too long stays whole, to be copied.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let lines = text.split_inclusive('\n').map(|line| match width(line.trim_end_matches('\n')) {
        0 => line.to_owned(),
        width if width <= columns => line.to_owned(),
        _ => wrapped_line(line, columns),
    });
    lines.collect()
}

fn wrapped_line(line: &str, columns: usize) -> String {
    let begin = line.len() - line.trim_start_matches(' ').len();
    let hang = " ".repeat((begin + HANG).min(columns / 2));
    let (mut text, mut used) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        if used > begin && used + width(word.trim_end()) > columns {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            text += &hang;
            used = hang.len();
        }
        text += word;
        used += width(word.trim_end_matches('\n'));
    }
    text
}

/// Letters that are seen.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|part| part.chars().count()).sum()
}

/// As much of an id as `crictl` shows, and as is unique in practice.
pub(crate) fn short_id(id: &str) -> &str {
    id.char_indices().nth(13).map_or(id, |(end, _)| &id[..end])
}

/// As much of it as fits, and that there is more.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    match text.chars().count() {
        length if length <= columns => text.to_owned(),
        _ => text.chars().take(columns.saturating_sub(2)).chain("..".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_and_words_stay_whole() {
        let text = "short\n  - one two three four five\n\x1b[31mred\x1b[0m and some words more\n";
        let expected = "short\n  - one two three\n    four five\n\x1b[31mred\x1b[0m and some words\n  more\n";
        assert_eq!(wrapped(text, 18), expected);
        let id = "0123456789".repeat(6);
        assert_eq!(wrapped(&format!("id {id} x\n"), 20), format!("id\n  {id}\n  x\n"));
        assert_eq!((wrapped("", 20), wrapped("a  b", 20)), (String::new(), "a  b".to_owned()));
    }

    #[test]
    fn a_picture_fits_its_terminal() {
        let size = Size { columns: 80, rows: 4 };
        assert_eq!(picture("a\nb\n", size), "a\x1b[K\r\nb\x1b[K\r\n");
        let picture = picture("a\nb\nc\nd\n", size);
        assert_eq!(picture, "a\x1b[K\r\nb\x1b[K\r\nand 2 more lines\x1b[K\r\n");
    }

    #[test]
    fn a_short_id_is_the_beginning_of_any_id() {
        assert_eq!(short_id("0123456789abcdef"), "0123456789abc");
        assert_eq!((short_id(""), short_id("0123456789abc")), ("", "0123456789abc"));
        assert_eq!(short_id(&"\u{e4}".repeat(20)), "\u{e4}".repeat(13));
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("abcdef", 6), cut("abcdef", 5)), ("abcdef".to_owned(), "abc..".to_owned()));
    }
}
