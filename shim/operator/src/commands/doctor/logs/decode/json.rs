//! JSON: an envelope of any collector, or the message itself.

use serde_json::{Map, Value};

use super::form::{klog, logrus_start};
use super::text::{self, unquoted};
use crate::commands::doctor::logs::record::{Envelope, Form, Record, Speaker};
use crate::commands::doctor::logs::time::Stamp;

mod keys;

use keys::{BESIDE, LINE, PROGRAM, TIME};

/// Objects in objects: OpenTelemetry needs nine.
const NESTED: usize = 32;

/// The first object or array in `before` that `whole` ends with.
pub(super) fn find(before: &str, whole: &str) -> Option<(usize, Value)> {
    let whole = whole.trim_end().trim_end_matches(',');
    for (tries, (at, _)) in before.match_indices(['{', '[']).enumerate() {
        if tries > 16 {
            return None;
        }
        let inner = whole.get(at + 1..)?.trim_start();
        if !inner.starts_with(['"', '{', '[']) {
            continue;
        }
        if let Some(value) = parse(&whole[at..]) {
            return Some((at, value));
        }
    }
    None
}

/// As it is, as CSV doubles its quotes, as Ruby and Fluent Bit print a map.
fn parse(text: &str) -> Option<Value> {
    let is_whole = |value: &Value| value.is_object() || value.is_array();
    let read = |text: &str| {
        // What follows is a bracket of the envelope's, if anything.
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        // Firehose puts no line ends between records.
        let (mut all, mut end) = (Vec::new(), 0);
        while let Some(value) = values.next().and_then(Result::ok).filter(is_whole) {
            all.push(value);
            end = values.byte_offset();
        }
        let rest = text[end..].trim_end_matches(['"', ']', '\'', ' ', ',', ')']);
        let value = if all.len() > 1 { Value::Array(all) } else { all.pop()? };
        rest.is_empty().then_some(value)
    };
    read(text)
        .or_else(|| text.starts_with("{\"\"").then(|| read(&text.replace("\"\"", "\"")))?)
        .or_else(|| {
            text.starts_with("{\\\"").then(|| read(&text.replace("\\\"", "\"").replace("\\\\", "\\")))?
        })
        .or_else(|| text.contains("\"=>").then(|| read(&text.replace("\"=>", "\":")))?)
}

/// What an envelope of JSON holds.
pub(super) enum Inner {
    /// A line, which may be in another envelope.
    Line(String, Envelope),
    /// A message.
    Message(Record),
    /// A line, and the message that it is if it has no form of its own.
    Either(String, Envelope, Record),
}

/// Everything in `value`.
pub(super) fn within(value: &Value, envelope: Envelope) -> Vec<Inner> {
    let mut found = Vec::new();
    walk(value, envelope, 0, &mut found);
    found
}

fn walk(value: &Value, envelope: Envelope, depth: usize, found: &mut Vec<Inner>) {
    if depth > NESTED {
        return;
    }
    match value {
        Value::Object(fields) => object(fields, envelope, depth, found),
        Value::Array(all) => array(all, &envelope, depth, found),
        Value::String(text) => found.push(Inner::Line(text.clone(), envelope)),
        _ => {}
    }
}

fn object(fields: &Map<String, Value>, mut envelope: Envelope, depth: usize, found: &mut Vec<Inner>) {
    if let Some(record) = event(fields) {
        found.push(Inner::Message(record));
        return;
    }
    if let Some(fields) = pairs(fields) {
        return object(&fields, envelope, depth, found);
    }
    if let Some(time) = TIME.iter().find_map(|key| time(fields.get(*key)?)) {
        envelope.time = Some(time);
    }
    let program = PROGRAM.iter().filter_map(|key| fields.get(*key)?.as_str());
    let mut words = program.flat_map(|text| text.split(['.', ' ', '%', ':']).chain([text]));
    if let Some(speaker) = words.find_map(Speaker::of) {
        envelope.speaker = Some(speaker);
    }
    let line = LINE.iter().find_map(|key| fields.get(*key).filter(|value| is_line(value)));
    let is_message = BESIDE.iter().any(|key| fields.contains_key(*key));
    let is_mere_text = |line: &Value| line.is_string() && !is_message && !has_form(line);
    if line.is_none_or(is_mere_text) && by_form(fields, &envelope, found) {
        return;
    }
    match line {
        Some(Value::Array(bytes)) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            found.push(Inner::Line(String::from_utf8_lossy(&bytes).into_owned(), envelope));
        }
        Some(Value::String(text)) => {
            found.push(if is_message {
                let record = message(text, fields, envelope.clone());
                Inner::Either(text.clone(), envelope, record)
            } else {
                Inner::Line(text.clone(), envelope)
            });
        }
        Some(other) => {
            let before = found.len();
            walk(other, envelope.clone(), depth + 1, found);
            if found.len() == before {
                by_form(fields, &envelope, found);
            }
        }
        None => {
            let inner = fields.values().filter(|value| value.is_object() || value.is_array());
            inner.for_each(|value| walk(value, envelope.clone(), depth + 1, found));
        }
    }
}

/// Lines under names that are not known: their form tells that they are some. Whether there are any.
fn by_form(fields: &Map<String, Value>, envelope: &Envelope, found: &mut Vec<Inner>) -> bool {
    let before = found.len();
    let lines = fields.values().filter(|value| has_form(value)).filter_map(Value::as_str);
    found.extend(lines.map(|line| Inner::Line(line.to_owned(), envelope.clone())));
    found.len() > before
}

/// A text that is a message in a form of its own, or holds one.
fn has_form(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        klog(text).is_some() || logrus_start(text).is_some() || find(text, text).is_some()
    })
}

/// OpenTelemetry's `{"kvlistValue": {"values": [{"key": "MESSAGE", "value": {"stringValue": "..."}}]}}`.
fn pairs(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let pairs = fields.get("kvlistValue")?.get("values")?.as_array()?;
    let pair = |pair: &Value| {
        let value = pair.get("value")?;
        Some((pair.get("key")?.as_str()?.to_owned(), value.get("stringValue").unwrap_or(value).clone()))
    };
    Some(pairs.iter().filter_map(pair).collect())
}

/// A text, an object that holds one, or bytes, as journald gives what is not UTF-8.
fn is_line(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Object(_) => true,
        Value::Array(all) => all.first().is_some_and(Value::is_u64),
        _ => false,
    }
}

/// A row of a table, a time and its line, or a list of any.
fn array(all: &[Value], envelope: &Envelope, depth: usize, found: &mut Vec<Inner>) {
    let longest = all.iter().filter_map(Value::as_str).max_by_key(|text| text.len());
    let Some(line) = longest.filter(|line| all.len() > 1 || line.len() > 20) else {
        all.iter().for_each(|value| walk(value, envelope.clone(), depth + 1, found));
        return;
    };
    let mut envelope = envelope.clone();
    if let Some(time) = all.iter().filter(|value| value.as_str() != Some(line)).find_map(time) {
        envelope.time = Some(time);
    }
    if all.iter().filter(|value| value.is_object()).count() == 0 {
        found.push(Inner::Line(line.to_owned(), envelope));
        return;
    }
    all.iter().for_each(|value| walk(value, envelope.clone(), depth + 1, found));
}

/// logrus', klog's or zap's own JSON, as the text that it stands for.
fn message(text: &str, fields: &Map<String, Value>, envelope: Envelope) -> Record {
    let mut line = unquoted(text, false).into_owned();
    for (key, value) in fields.iter().filter(|(key, _)| !LINE.contains(&key.as_str())) {
        match value {
            Value::String(text) => line += &format!(" {key}=\"{}\"", unquoted(text, false)),
            other => line += &format!(" {key}={other}"),
        }
    }
    let is_klog = fields.contains_key("caller") || fields.contains_key("v");
    // zap's, as controllers and applications have it: containerd says `time`, and kubelet no `level`.
    let is_zaps =
        fields.get("level").is_some_and(Value::is_string) && fields.get("ts").is_some_and(Value::is_number);
    let by_form = match (is_zaps, is_klog) {
        (true, _) => Speaker::Other,
        (false, true) => Speaker::Kubelet,
        (false, false) => Speaker::Containerd,
    };
    let time = TIME.iter().find_map(|key| time(fields.get(*key)?));
    text::message(line, Form::Fields, time, by_form, envelope)
}

/// A Kubernetes event, with how often it was seen.
fn event(fields: &Map<String, Value>) -> Option<Record> {
    let object = fields.get("involvedObject").or_else(|| fields.get("regarding"))?.as_object()?;
    let word = |fields: &Map<String, Value>, key: &str| fields.get(key)?.as_str().map(str::to_owned);
    let text = word(fields, "message").or_else(|| word(fields, "note"))?;
    let series = fields.get("series").and_then(Value::as_object).and_then(|series| series.get("count"));
    let count =
        fields.get("count").or(series).or_else(|| fields.get("deprecatedCount")).and_then(Value::as_u64);
    let pod = format!("{}/{}", word(object, "namespace").unwrap_or_default(), word(object, "name")?);
    let uid = word(object, "uid").unwrap_or_default();
    let reason = word(fields, "reason").unwrap_or_default();
    let count = count.map(|count| format!(" (x{count} over it)")).unwrap_or_default();
    let text = format!("{reason}{count} {} pod=\"{pod}\" podUID=\"{uid}\"", unquoted(&text, false));
    let when = ["lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp"];
    let time = when.iter().find_map(|key| time(fields.get(*key)?));
    Some(Record { text, form: Form::Fields, speaker: Some(Speaker::Events), time, sent: None })
}

fn time(value: &Value) -> Option<Stamp> {
    match value {
        Value::Number(number) => Stamp::since_1970(number.as_f64()?),
        Value::String(text) => Stamp::parse(text).map(|(stamp, _)| Stamp { words: text.clone(), ..stamp }),
        // `{"seconds": 1, "nanos": 2}`
        Value::Object(fields) => Stamp::since_1970(fields.get("seconds")?.as_f64()?),
        _ => None,
    }
}
