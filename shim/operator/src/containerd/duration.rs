//! Durations as Go reads them (`time.ParseDuration`), and with it containerd: `1h30m`, `+5s`, `.5s`, `100µs`, `0`. What it
//! does not take, such as `1 day`, keeps containerd from starting.

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The duration; one below nothing has passed at once, as nothing has.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let (negative, text) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let (value, behind) = part(rest)?;
        sum = sum.checked_add(value).filter(|sum| *sum <= i64::MAX.cast_unsigned())?;
        rest = behind;
    }
    (!text.is_empty()).then(|| if negative { Duration::ZERO } else { Duration::from_nanos(sum) })
}

/// A number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let is_number = has_digits && !fraction.contains('.');
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).filter(|_| is_number)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? }.checked_mul(*unit)?;
    // Go, too, takes only as many digits as fit.
    let digits = &fraction[..fraction.len().min(18)];
    let numerator = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let fraction = u64::try_from(numerator * u128::from(*unit) / scale).ok()?;
    Some((whole.checked_add(fraction)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ms) in [
            ("5s", 5_000),
            ("+5s", 5_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1h1m1.5s", 3_661_500),
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("-5s", 0),
            ("1500000us", 1_500),
            ("2000\u{b5}s", 2),
            ("2000\u{3bc}s", 2),
            ("100ms", 100),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for wrong in [
            "",
            "5",
            "s",
            ".s",
            "+",
            "5 s",
            "1d",
            "1day",
            "5sec",
            " 5s",
            "5s ",
            "1..5s",
            "--5s",
            "5S",
            "9999999999h",
            "soon",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
