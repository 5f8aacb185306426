//! Keys and values of a line of text.

/// The value after `key=`, quoted or not, which stands at the beginning of a word.
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at = text.match_indices(key).map(|(at, _)| at).find(|at| {
        let is_start = *at == 0 || text.as_bytes()[*at - 1].is_ascii_whitespace();
        is_start && text.as_bytes().get(*at + key.len()) == Some(&b'=')
    })?;
    let value = &text[at + key.len() + 1..];
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => value.split_whitespace().next()?,
    };
    (!value.is_empty()).then_some(value)
}
