//! Where in a line a message of klog's or logrus' begins.

use crate::commands::doctor::logs::time::Stamp;

/// klog's header: where it begins, its time, and how long it is.
pub(super) fn klog(text: &str) -> Option<(usize, Stamp, usize)> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    for at in 0..bytes.len().saturating_sub(22) {
        let is_header = matches!(bytes[at], b'I' | b'W' | b'E' | b'F' | b'D')
            && is_digit(at + 1)
            && is_digit(at + 4)
            && bytes[at + 5] == b' '
            && bytes[at + 8] == b':'
            && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        if !is_header {
            continue;
        }
        let Some(time) = text.get(at + 1..).and_then(Stamp::klog) else { continue };
        // `04:05:06.111222     812 file.go:1] `
        let header = text.get(at..at + 160).or_else(|| text.get(at..))?;
        if let Some(end) = header.find("] ").or_else(|| header.ends_with(']').then(|| header.len() - 1)) {
            return Some((at, time, (end + 2).min(text.len() - at)));
        }
    }
    None
}

/// Where logrus' text begins.
pub(super) fn logrus_start(text: &str) -> Option<usize> {
    let is_start = |at: usize| at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
    let first = ["time=\"", "time=\\\"", "time=2", "level=", "ts=2"]
        .iter()
        .filter_map(|word| text.match_indices(word).map(|(at, _)| at).find(|at| is_start(*at)))
        .min()?;
    // The guard's lines have no time, and `level=` alone is anybody's.
    text[first..].contains("msg=").then_some(first)
}
