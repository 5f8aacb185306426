//! Lines that were copied from a terminal, which breaks them where it ends: they are put together again. Pure.

use crate::commands::doctor::logs::decode::{begins, decode};
use crate::commands::doctor::logs::record::Form;
use crate::commands::doctor::logs::signs::is_failure;

/// A terminal that is narrower breaks nothing that is known again, and none is wider.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=1000;
/// No message has more of them.
const MOST: usize = 100;

/// What waits for its next line.
#[derive(Default)]
pub(super) struct Wrapped {
    pieces: Vec<String>,
    /// Of all first pieces so far.
    widest: usize,
}

impl Wrapped {
    /// One more line; gives the one before where that is whole.
    pub(super) fn feed(&mut self, line: String) -> Option<String> {
        let whole = if self.goes_on(&line) { None } else { self.end() };
        self.pieces.push(line);
        whole
    }

    /// What has waited in vain, without the indentation of what goes on. Lines of one width were broken where it ends,
    /// others at a blank.
    pub(super) fn end(&mut self) -> Option<String> {
        let pieces = std::mem::take(&mut self.pieces);
        let (first, rest) = pieces.split_first()?;
        let indentation = rest
            .iter()
            .map(|piece| piece.len() - piece.trim_start_matches([' ', '\t']).len())
            .min()
            .unwrap_or(0);
        let rest = rest.iter().map(|piece| &piece[if indentation > 1 { indentation } else { 0 }..]);
        let pieces: Vec<&str> = [first.as_str()].into_iter().chain(rest).collect();
        self.widest = self.widest.max(width(first));
        let is_hard = match &pieces[..] {
            [first, _] => width(first) == self.widest,
            [full @ .., _] => full.iter().all(|piece| width(piece) == width(first)),
            [] => true,
        };
        Some(pieces.join(if is_hard { "" } else { " " }))
    }

    /// `line` is the rest of it: the form of what is held is not whole yet and `line` begins nothing of its own, or all
    /// are as wide as a terminal.
    fn goes_on(&self, line: &str) -> bool {
        let Some(first) = self.pieces.first() else { return false };
        let bare = line.trim_start();
        if bare.is_empty() || self.pieces.len() >= MOST || !WIDTHS.contains(&width(first)) {
            return false;
        }
        let is_full =
            self.pieces.iter().map(String::as_str).chain([line]).all(|one| width(one) == width(first));
        let text = self.pieces.concat();
        let is_open = is_open(&text);
        if is_broken(first, &text, bare) {
            return true;
        }
        if !(is_open || is_full || is_field(bare)) || !(is_known(first) || begins(first)) {
            return false;
        }
        let is_value = text.ends_with(['=', ':']) || text.ends_with("=\"");
        is_open && is_value || !begins(bare) && (is_open || !is_known(line))
    }
}

/// Whether `bare` goes on with a failure that has no head, as events and docker tell it and blogs break it.
fn is_broken(first: &str, text: &str, bare: &str) -> bool {
    let goes_on = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || "\":".contains(one);
    let is_next = is_field(bare) || ["error ", "failed "].iter().any(|words| bare.starts_with(words));
    let is_rest = text.trim_end().ends_with([':', '=']) || bare.starts_with(goes_on) && !is_next;
    let has_head = |line: &str| is_known(line) || begins(line);
    is_rest && first.contains("rror") && is_failure(first) && !has_head(first) && !has_head(bare)
}

fn width(line: &str) -> usize {
    line.chars().count()
}

/// Whether a quotation, an object or logrus' text has begun and not ended.
fn is_open(text: &str) -> bool {
    text.replace("\\\"", "").matches('"').count() % 2 == 1
        || text.contains("{\"") && depth(text) > 0
        || text.contains("time=\"") && !text.contains("msg=")
        || text.ends_with('=')
        || is_header(text.rsplit("]: ").next().unwrap_or(text))
}

/// klog's header, and nothing behind it: `E0203 04:05:06.111222     812 file.go:1]`.
fn is_header(text: &str) -> bool {
    let is_start = text.starts_with(['I', 'W', 'E', 'F', 'D'])
        && text.get(1..6).is_some_and(|day| day.trim_end().bytes().all(|byte| byte.is_ascii_digit()));
    is_start && text.split_once("] ").is_none_or(|(_, rest)| rest.is_empty())
}

/// `error="context deadline exceeded"`
fn is_field(text: &str) -> bool {
    let key = text.split('=').next().unwrap_or_default();
    key.len() < text.len() && key.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Whether it is some program's line, by its form.
fn is_known(line: &str) -> bool {
    decode(line)
        .iter()
        .any(|record| record.form != Form::Plain || record.speaker.is_some() || record.sent.is_some())
}

/// How many brackets `line` opens and does not close.
pub(super) fn depth(line: &str) -> i64 {
    let (mut depth, mut is_text, mut is_quoted) = (0, false, false);
    for byte in line.bytes() {
        match byte {
            _ if is_quoted => is_quoted = false,
            b'\\' if is_text => is_quoted = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth -= 1,
            _ => {}
        }
    }
    depth
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
    fn a_cut_line_takes_no_line_that_begins_something() {
        let cut =
            "Apr 16 14:18:10 n containerd[8]: time=\"2024-04-16T14:18:10Z\" level=error msg=\"StopPodSand";
        let json = "10.5.0.3: {\"error\":\"x\",\"msg\":\"y\"}";
        let logrus = "time=\"2024-04-16T14:18:10Z\" level=info msg=\"y\"";
        for next in [json, logrus, "E1012 10:04:05.123456    1021 log.go:32] \"x\"", "sshd[9]: bye", cut] {
            assert_eq!(read(&[cut, next]), [cut, next]);
        }
        assert_eq!(read(&["", "\u{3000} é=", "\u{3000}\u{3000}x"]).len(), 3);
    }

    /// Blogs break what events and docker tell, which has no head.
    #[test]
    fn a_broken_message_without_a_head_is_whole_again() {
        for lines in [
            &[
                "error killing pod: failed to \"KillPodSandbox\" for \"1\" with KillPodSandboxError:",
                "\"rpc error: code = Unknown desc = failed to destroy network for sandbox \"79\":",
                "plugin type=\"portmap\" failed (delete): failed to find plugin\"",
            ][..],
            &[
                "Error response from daemon: cannot stop container: web: Cannot kill container ",
                "b2de7943744c: unknown error after kill: runc did not terminate",
                "sucessfully: signaling init process caused \"permission denied\"",
                ": unknown",
            ],
        ] {
            let twice: Vec<&str> = lines.iter().chain(lines).copied().collect();
            let whole = read(&twice);
            assert_eq!(whole.len(), 2, "{whole:#?}");
        }
        let apart =
            ["Error response from daemon: Cannot kill container 1: denied", "Nothing of this", "at all"];
        assert_eq!(read(&apart), apart);
    }

    #[test]
    fn lines_of_one_width_stay_apart_and_so_does_what_follows_them() {
        let one = "E1012 10:04:05.123456    1021 log.go:32] \"Failed to stop sandbox\"";
        let other = one.replace("05.1", "06.1");
        for lines in [[one, other.as_str(), "goroutine 1 [running]:"], [one, "", other.as_str()]] {
            assert_eq!(read(&lines), lines);
        }
    }

    /// At every width, by a terminal (with an indentation or without) and at blanks.
    #[test]
    fn a_message_is_whole_again_at_each_width() {
        let id = "7a51e55137829baae0eeb2f86d8439a0f9f5870f29a1481f63254bd96e912e07";
        let logrus = format!(
            r#"Apr 16 14:18:10 node-3 containerd[8563]: time="2024-04-16T14:18:10.109630279+08:00" level=error msg="get state for {id}" error="context deadline exceeded: unknown""#
        );
        let json = format!(
            r#"10.5.0.3: {{"error":"context deadline exceeded: unknown","level":"error","msg":"get state for {id}","time":"2024-04-16T14:18:10.109630279+08:00"}}"#
        );
        let klog = format!(
            r#"Apr 16 14:18:10 node-3 kubelet[812]: E0416 14:18:10.123456     812 log.go:32] "StopPodSandbox from runtime service failed" err="rpc error: code = DeadlineExceeded" podSandboxID="{id}""#
        );
        let mut wrong = Vec::new();
        for (form, line) in [("logrus", &logrus), ("json", &json), ("klog", &klog)] {
            for width in 60..line.len() {
                let pieces =
                    || line.as_bytes().chunks(width).map(|part| String::from_utf8_lossy(part).into_owned());
                let hard: Vec<String> = pieces().collect();
                let indented =
                    pieces().enumerate().map(|(at, part)| if at == 0 { part } else { format!("    {part}") });
                let words = line.split(' ').fold(vec![String::new()], |mut lines, word| {
                    let last = lines.last_mut().unwrap();
                    match last.is_empty() || last.len() + 1 + word.len() <= width {
                        true if last.is_empty() => last.push_str(word),
                        true => *last += &format!(" {word}"),
                        false => lines.push(word.to_owned()),
                    }
                    lines
                });
                for (how, lines) in [("hard", hard), ("indented", indented.collect()), ("words", words)] {
                    let twice: Vec<&str> = lines.iter().chain(&lines).map(String::as_str).collect();
                    let whole = read(&twice);
                    let is_found = |one: &&String| {
                        one.contains(id) && one.contains("eadline") && one.contains("xceeded")
                    };
                    if whole.iter().filter(is_found).count() != 2 {
                        wrong.push(format!("{form} {how} {width}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} are wrong: {wrong:?}", wrong.len());
    }
}
