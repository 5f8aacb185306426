//! Text as it was quoted and coloured on its way, and the message that it is at last.

use std::borrow::Cow;

use crate::commands::doctor::logs::record::{Envelope, Form, Record, Speaker};
use crate::commands::doctor::logs::time::Stamp;

/// Envelopes in envelopes.
pub(super) const DEEPEST: usize = 8;

/// A message by who writes in this form, unless its envelope knows better.
pub(super) fn message(
    text: impl Into<String>,
    form: Form,
    time: Option<Stamp>,
    by_form: Speaker,
    envelope: Envelope,
) -> Record {
    // Who speaks klog is kubelet, even where its envelope is that of k3s or of a collector.
    let speaker = match (form, envelope.speaker) {
        (Form::Klog, Some(Speaker::Containerd | Speaker::Other)) => by_form,
        (_, Some(Speaker::Kubelet)) if form == Form::Fields => by_form,
        (_, Some(Speaker::Other)) | (_, None) => by_form,
        (_, Some(speaker)) => speaker,
    };
    Record { text: text.into(), form, speaker: Some(speaker), time, sent: envelope.time }
}

/// Quoted once or several times, or as CSV does it: what is searched for holds no backslash.
pub(super) fn unquoted(text: &str, is_csv: bool) -> Cow<'_, str> {
    let is_doubled = is_csv && text.contains("\"\"");
    match (text.contains('\\'), is_doubled) {
        (false, false) => Cow::Borrowed(text),
        (_, true) => Cow::Owned(text.replace('\\', "").replace("\"\"", "\"")),
        // In a value, a tab or a new line is quoted as well.
        (true, false) => Cow::Owned(text.replace("\\n", " ").replace("\\t", " ").replace('\\', "")),
    }
}

/// Without what colours a terminal.
pub(super) fn without_colours(text: &str) -> Cow<'_, str> {
    if text.contains("\u{1b}[") {
        Cow::Owned(anstream::adapter::strip_str(text).to_string())
    } else {
        // journald and systemd-cat may have quoted the escape itself.
        match text.contains("#033[") {
            true => Cow::Owned(text.replace("#033[0m", "").replace("#033[31m", "")),
            false => Cow::Borrowed(text),
        }
    }
}
