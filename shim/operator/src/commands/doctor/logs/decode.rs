//! A line, in whichever envelopes it comes, to its message: envelope after envelope is taken away until klog's or
//! logrus' own text or JSON is found, wherever in the line that begins. What stands before it is only searched for a
//! time and for the name of a program, so that a collector which nobody has thought of does no harm. Pure.

use serde_json::Value;

use super::record::{Envelope, Form, Record, Speaker};
use super::time::{Stamp, age};

mod fields;
mod form;
mod json;
mod text;

use form::{klog, logrus_start};
use json::Inner;
use text::{DEEPEST, message, unquoted, without_colours};

/// As far as an envelope's time and program are looked for.
const LONGEST_PREFIX: usize = 400;
/// Without an envelope, a time stands at the beginning if anywhere.
const NEAR: usize = 64;
/// How logrus begins a line on a terminal.
const LEVELS: [&str; 5] = ["INFO[", "WARN[", "ERRO[", "DEBU[", "FATA["];

/// All messages of a line. One that is no JSON has one.
pub(super) fn decode(line: &str) -> Vec<Record> {
    let mut found = Vec::new();
    peel(line, Envelope::default(), 0, &mut found);
    found
}

/// Takes the next envelope away.
fn peel(text: &str, envelope: Envelope, depth: usize, found: &mut Vec<Record>) {
    let text = without_colours(text.trim_matches(['\u{feff}', '\0', '\r', '\n']));
    let held = if depth < DEEPEST { payload(&text) } else { None };
    let Some((at, held)) = held else {
        found.push(plain(&text, envelope));
        return;
    };
    let mut envelope = envelope;
    learn(&text[..at], &mut envelope);
    match held {
        Payload::Klog(time, start) => {
            let is_debug = text[at..].starts_with('D');
            let text = unquoted(&text[at + start..], text[..at].ends_with('"'));
            // Of those who write klog only gVisor has debug lines.
            let by_form = if is_debug { Speaker::Gvisor } else { Speaker::Kubelet };
            found.push(message(text, Form::Klog, Some(time), by_form, envelope));
        }
        Payload::Logrus => {
            let is_csv = text[..at].ends_with('"') && text[at..].contains("msg=\"\"");
            logrus(&unquoted(&text[at..], is_csv), envelope, depth, found);
        }
        Payload::Json(value) => {
            for inner in json::within(&value, envelope) {
                match inner {
                    Inner::Line(line, envelope) => peel_lines(&line, &envelope, depth + 1, found),
                    Inner::Message(record) => found.push(record),
                    // A message that has its own form is read by that.
                    Inner::Either(line, envelope, record) => match payload(&line) {
                        Some(_) => peel_lines(&line, &envelope, depth + 1, found),
                        None => found.push(record),
                    },
                }
            }
        }
    }
}

/// One line, or what a command has printed, as a cloud gives it: several in one value.
fn peel_lines(text: &str, envelope: &Envelope, depth: usize, found: &mut Vec<Record>) {
    let are_lines =
        text.contains('\n') && text.lines().filter(|line| payload(line).is_some()).nth(1).is_some();
    match are_lines {
        true => text.lines().for_each(|line| peel(line, envelope.clone(), depth, found)),
        false => peel(text, envelope.clone(), depth, found),
    }
}

/// A message and the text that it begins with.
enum Payload {
    Klog(Stamp, usize),
    Logrus,
    Json(Value),
}

/// Where the first of them begins: klog's values may be JSON, and so may logrus' ones.
fn payload(text: &str) -> Option<(usize, Payload)> {
    let text_payload = match (klog(text), logrus_start(text)) {
        (Some((at, time, start)), logrus) if logrus.is_none_or(|logrus| at <= logrus) => {
            Some((at, Payload::Klog(time, start)))
        }
        (_, logrus) => logrus.map(|at| (at, Payload::Logrus)),
    };
    let before = text_payload.as_ref().map_or(text.len(), |(at, _)| *at);
    json::find(&text[..before], text).map(|(at, value)| (at, Payload::Json(value))).or(text_payload)
}

/// `line` is without backslashes.
fn logrus(line: &str, mut envelope: Envelope, depth: usize, found: &mut Vec<Record>) {
    let time = fields::value(line, "time")
        .or_else(|| fields::value(line, "ts"))
        .and_then(|time| Stamp::parse(time).map(|(stamp, _)| Stamp { words: time.to_owned(), ..stamp }));
    // k3s has kubelet's own lines in msg.
    if depth < DEEPEST
        && let Some((_, stamp, start)) = klog(line)
    {
        let at = line.find("msg=").unwrap_or(0);
        if klog(&line[at..]).is_some_and(|(inner, ..)| inner <= "msg=\"".len()) {
            envelope.time = time.or(envelope.time);
            let text = line[at..].trim_start_matches("msg=").trim_matches('"');
            let text = text.get(start..).unwrap_or(text).to_owned();
            found.push(message(text, Form::Klog, Some(stamp), Speaker::Kubelet, envelope));
            return;
        }
    }
    found.push(message(line, Form::Fields, time, Speaker::Containerd, envelope));
}

/// A line of neither: the kernel's, systemd's, logrus' own on a terminal, somebody else's.
fn plain(text: &str, mut envelope: Envelope) -> Record {
    let prefix = prefix(text);
    learn(prefix, &mut envelope);
    let rest = unquoted(&text[prefix.len()..], false).into_owned();
    let is_terminals = LEVELS.iter().any(|level| rest.trim_start_matches('`').starts_with(level));
    if envelope.time.is_none() {
        let near = &rest[..rest.floor_char_boundary(NEAR)];
        envelope.time = Stamp::find(near);
        if envelope.time.is_none()
            && let Some(age) = event(near)
        {
            envelope = Envelope { time: Some(age), speaker: Some(Speaker::Events) };
        }
    }
    if is_terminals {
        let time = envelope.time.take();
        return message(rest, Form::Fields, time, Speaker::Containerd, envelope);
    }
    if envelope.speaker.is_none() && text.starts_with('[') && envelope.time.is_some() {
        envelope.speaker = Some(Speaker::Kernel);
    }
    Record { text: rest, form: Form::Plain, speaker: envelope.speaker, time: None, sent: envelope.time }
}

/// How long ago an event was, of a row that kubectl prints: its type and reason, and its age before or behind them.
fn event(row: &str) -> Option<Stamp> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let is_reason = |word: &str| word.starts_with(|one: char| one.is_ascii_uppercase());
    let is_event = words.windows(2).any(|pair| matches!(pair[0], "Warning" | "Normal") && is_reason(pair[1]));
    words.into_iter().filter(|_| is_event).find_map(age)
}

/// Whether a message begins with `line`: a piece of one, which a terminal has broken, may be known by its form as well.
pub(super) fn begins(line: &str) -> bool {
    let line = without_colours(line);
    let is_before =
        |prefix: &str| prefix.len() < NEAR && !prefix.contains('"') && !prefix.ends_with(['=', ':']);
    match payload(&line) {
        Some((_, Payload::Klog(..))) => true,
        Some((at, Payload::Logrus)) if !line[at..].starts_with("level=") => true,
        _ => has_head(&line) || line.find("{\"").is_some_and(|at| is_before(&line[..at])),
    }
}

/// A time, or the name of a program with its process, in the first column.
fn has_head(line: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t', ']', ',']);
    let word = line.split(' ').next().unwrap_or_default();
    Stamp::parse(line).is_some_and(|(_, end)| ends(&line[end.min(line.len())..]))
        || word.contains('[') && word.ends_with("]:")
}

/// What syslog, journald, CRI or `talosctl` have put before a line of text.
fn prefix(text: &str) -> &str {
    let head = &text[..text.floor_char_boundary(LONGEST_PREFIX)];
    for flag in [" stdout F ", " stderr F ", " stdout P ", " stderr P "] {
        if let Some(at) = head.find(flag) {
            return &text[..at + flag.len()];
        }
    }
    // `kubelet[812]: `, and the kernel's name or time.
    let ends = ["]: ", " kernel: ", ": kern: "];
    let end = ends.iter().filter_map(|end| head.find(end).map(|at| at + end.len())).min();
    // As syslogd writes it to a terminal: ` kernel:[55716.328117] watchdog: ...`.
    let end = end.or_else(|| head.starts_with(" kernel:[").then_some(" kernel:".len()));
    match end {
        Some(end) => &text[..end],
        None => match Stamp::parse(head) {
            Some((_, end)) => &text[..end],
            None => "",
        },
    }
}

/// Its time, and who wrote it, as far as the envelope tells.
fn learn(prefix: &str, envelope: &mut Envelope) {
    let head = &prefix[..prefix.floor_char_boundary(LONGEST_PREFIX)];
    if let Some(time) = Stamp::find(head) {
        envelope.time = Some(time);
    }
    let words = || head.split(|one: char| one.is_whitespace() || "[]\":|,=(){}'".contains(one));
    if let Some(speaker) = words().find_map(Speaker::of) {
        envelope.speaker = Some(speaker);
    } else if envelope.speaker.is_none() && is_of_another(head) {
        envelope.speaker = Some(Speaker::Other);
    }
}

/// `sshd[99]: `, of a program that none of them is.
fn is_of_another(prefix: &str) -> bool {
    let Some(end) = prefix.find("]:") else { return false };
    let Some(start) = prefix[..end].rfind('[') else { return false };
    let pid = &prefix[start + 1..end];
    !pid.is_empty()
        && pid.bytes().all(|byte| byte.is_ascii_digit())
        && prefix[..start].ends_with(|one: char| one.is_ascii_alphanumeric() || one == ')')
}

#[cfg(test)]
mod tests;
