//! Times as logs have them: with or without a year, a zone, a date at all. Pure.

/// Which clock a time was read from. Two times can only be compared on the same one: kubelet's klog has neither year
/// nor zone, and what journald puts before it may be hours away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Clock {
    /// With its zone, or since 1970.
    Zoned,
    /// A date and a time of no zone.
    Local,
    /// klog: no year and no zone.
    Klog,
    /// syslog: the same.
    Syslog,
    /// Seconds since the kernel's start.
    Uptime,
}

/// A time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// On which clock.
    pub(super) clock: Clock,
    /// Milliseconds on it; without a year since the beginning of one.
    pub(super) millis: i64,
    /// In the log's own words.
    pub(super) words: String,
}

/// Milliseconds of a leap year, after which times without a year begin again.
const YEAR: i64 = 366 * DAY;
const DAY: i64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Without a year, dates are reckoned in this one: it has a 29th of February.
const LEAP: i64 = 2000;

impl Stamp {
    /// How far apart two times of the same clock are.
    pub(super) fn distance(clock: Clock, one: i64, other: i64) -> i64 {
        let apart = (one - other).abs();
        match clock {
            Clock::Klog | Clock::Syslog => apart.min((YEAR - apart).abs()),
            _ => apart,
        }
    }

    /// The time at the beginning of `text`, and how long it is.
    pub(super) fn parse(text: &str) -> Option<(Self, usize)> {
        iso(text).or_else(|| syslog(text)).or_else(|| uptime(text)).or_else(|| epoch(text))
    }

    /// The first time in `text` that stands at the beginning of a word.
    pub(super) fn find(text: &str) -> Option<Self> {
        let mut is_start = true;
        for (at, one) in text.char_indices() {
            if is_start && let Some((stamp, _)) = Self::parse(&text[at..]) {
                return Some(stamp);
            }
            is_start = matches!(one, ' ' | '\t' | '[' | '(' | '"' | '\'' | '=' | ',' | '>' | ':' | ';');
        }
        None
    }

    /// Seconds, or thousandths, millionths, billionths of them, since 1970: told apart by how many they are.
    pub(super) fn since_1970(number: f64) -> Option<Self> {
        let millis = match number {
            1e8..1e11 => number * 1e3,
            1e11..1e14 => number,
            1e14..1e17 => number / 1e3,
            1e17..1e20 => number / 1e6,
            _ => return None,
        } as i64;
        let time =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(millis.unsigned_abs());
        Some(Self { clock: Clock::Zoned, millis, words: humantime::format_rfc3339_millis(time).to_string() })
    }

    /// klog's `0203 04:05:06.111222`, which follows its letter.
    pub(super) fn klog(text: &str) -> Option<Self> {
        let (month, day) = (number(text, 0, 2)?, number(text, 2, 4)?);
        let (time, length) = clock(text.get(5..)?)?;
        let words = format!("{month:02}-{day:02} {}", &text[5..5 + length]);
        Some(Self { clock: Clock::Klog, millis: date(LEAP, month, day)? + time, words })
    }
}

/// kubectl's `2m11s`, how long ago an event was: on a clock that nothing else is on.
pub(super) fn age(text: &str) -> Option<Stamp> {
    let word = text.split_whitespace().next()?;
    let (mut seconds, mut digits) = (0, String::new());
    for one in word.chars() {
        let unit = match one {
            '0'..='9' => {
                digits.push(one);
                continue;
            }
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds +=
            unit * std::mem::take(&mut digits).parse::<i64>().ok().filter(|number| *number < 1 << 20)?;
    }
    let is_whole = digits.is_empty() && !word.is_empty();
    is_whole.then(|| Stamp { clock: Clock::Uptime, millis: -seconds * 1000, words: format!("{word} ago") })
}

/// `2026-02-03T04:05:06.123456789+01:00`, with a blank instead of the T, a weekday before, a zone's name behind.
fn iso(text: &str) -> Option<(Stamp, usize)> {
    let weekday = WEEKDAYS.iter().any(|day| text.starts_with(day) && text[3..].starts_with(' '));
    let rest = if weekday { text.get(4..)? } else { text };
    let byte = |at: usize| rest.as_bytes().get(at).copied();
    let is_date = matches!((byte(4), byte(7)), (Some(b'-'), Some(b'-')) | (Some(b'/'), Some(b'/')));
    if !is_date || !matches!(byte(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let day = date(number(rest, 0, 4)?, number(rest, 5, 7)?, number(rest, 8, 10)?)?;
    let (time, length) = clock(rest.get(11..)?)?;
    let (offset, zone) = zone(rest.get(11 + length..)?);
    let end = 11 + length + zone;
    let clock = if offset.is_some() { Clock::Zoned } else { Clock::Local };
    let stamp = Stamp { clock, millis: day + time - offset.unwrap_or(0), words: rest[..end].to_owned() };
    Some((stamp, end + if weekday { 4 } else { 0 }))
}

/// `Feb  3 04:05:06.123456`, perhaps with a weekday before and a year behind.
fn syslog(text: &str) -> Option<(Stamp, usize)> {
    let weekday = WEEKDAYS.iter().any(|day| text.starts_with(day) && text[3..].starts_with(' '));
    let start = if weekday { 4 } else { 0 };
    let rest = text.get(start..)?;
    let month = MONTHS.iter().position(|month| rest.starts_with(month))? as i64 + 1;
    let day = rest.get(4..6)?.trim_start().parse().ok()?;
    let (time, length) = clock(rest.get(7..)?)?;
    let end = 7 + length;
    // `dmesg -T` and ctime end with the year.
    let year = rest.get(end..).and_then(|rest| rest.strip_prefix(' ')).and_then(|rest| number(rest, 0, 4));
    let year = year.filter(|year| (1990..2100).contains(year));
    let (clock, length) = if year.is_some() { (Clock::Local, end + 5) } else { (Clock::Syslog, end) };
    let millis = date(year.unwrap_or(LEAP), month, day)? + time;
    Some((Stamp { clock, millis, words: rest[..end].to_owned() }, start + length))
}

/// The kernel's `[  240.313308]`; the bracket before it has been read or not.
fn uptime(text: &str) -> Option<(Stamp, usize)> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(']')?;
    let (seconds, fraction) = inner[..end].trim().split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() < 3 {
        return None;
    }
    let seconds: i64 = seconds.parse().ok().filter(|seconds| *seconds < 1 << 31)?;
    let millis = seconds * 1000 + number(fraction, 0, 3)?;
    Some((Stamp { clock: Clock::Uptime, millis, words: inner[..end].trim().to_owned() }, end + 2))
}

/// `1770091506.111222` or `1770091506111`.
fn epoch(text: &str) -> Option<(Stamp, usize)> {
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let word = &text[..end];
    let whole = word.split('.').next()?.len();
    if !(matches!(whole, 10 | 13 | 16 | 19) && word.starts_with('1')) {
        return None;
    }
    Some((Stamp::since_1970(word.parse().ok()?)?, end))
}

/// `04:05:06` with any fraction, in milliseconds, and how long it is.
fn clock(text: &str) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    if !matches!((bytes.get(2), bytes.get(5)), (Some(b':'), Some(b':'))) {
        return None;
    }
    let (hour, minute, second) = (number(text, 0, 2)?, number(text, 3, 5)?, number(text, 6, 8)?);
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let millis = ((hour * 60 + minute) * 60 + second) * 1000;
    if !matches!(bytes.get(8), Some(b'.' | b',')) {
        return Some((millis, 8));
    }
    let digits = bytes[9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction: i64 = format!("{:0<3}", &text[9..9 + digits.min(3)]).parse().ok()?;
    Some((millis + fraction, 9 + digits))
}

/// `Z`, ` UTC`, `+01:00` or `+0100`: how many milliseconds east, if it says, and how long it is.
fn zone(text: &str) -> (Option<i64>, usize) {
    if text.starts_with(['Z', 'z']) {
        return (Some(0), 1);
    }
    if text.starts_with(" UTC") {
        return (Some(0), 4);
    }
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return (None, 0),
    };
    let colon = usize::from(text.as_bytes().get(3) == Some(&b':'));
    match (number(text, 1, 3), number(text, 3 + colon, 5 + colon)) {
        (Some(hours), Some(minutes)) => (Some(sign * (hours * 60 + minutes) * 60_000), 5 + colon),
        _ => (None, 0),
    }
}

fn number(text: &str, from: usize, to: usize) -> Option<i64> {
    let digits = text.get(from..to)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Milliseconds between 1970 and the beginning of that day.
fn date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Clock, i64) {
        let (stamp, _) = Stamp::parse(text).unwrap_or_else(|| panic!("{text}"));
        (stamp.clock, stamp.millis)
    }

    #[test]
    fn the_same_moment_is_the_same_in_every_form() {
        const THEN: i64 = 1_770_091_506_111;
        for text in [
            "2026-02-03T04:05:06.111222Z",
            "2026-02-03T05:05:06.111+01:00",
            "2026-02-03 05:05:06.111+0100 node",
            "2026-02-03T04:05:06.111222333+00:00",
            "Tue 2026-02-03 04:05:06.111222 UTC",
            "1770091506.111222",
            "1770091506111",
            "1770091506111222",
            "1770091506111222333",
        ] {
            assert_eq!(read(text), (Clock::Zoned, THEN), "{text}");
        }
        assert_eq!(read("2026-02-03 04:05:06,111"), (Clock::Local, THEN));
        assert_eq!(read("Tue Feb  3 04:05:06.111 2026]"), (Clock::Local, THEN));
        assert_eq!(read("[  240.313308]"), (Clock::Uptime, 240_313));
        let klog = Stamp::klog("0203 04:05:06.111222").unwrap();
        assert_eq!(read("Feb 03 04:05:06.111222").1, klog.millis);
        assert_eq!(klog.words, "02-03 04:05:06.111222");
    }

    #[test]
    fn an_age_is_a_time_too() {
        assert_eq!(age("2m11s  Warning").map(|stamp| stamp.millis), Some(-131_000));
        assert_eq!(age("3d4h").map(|stamp| stamp.words), Some("3d4h ago".to_owned()));
        assert!(["", "5", "am", "2x", "99999999d"].iter().all(|text| age(text).is_none()));
    }

    #[test]
    fn a_new_year_is_no_year_away() {
        let (before, after) = (read("Dec 31 23:59:50"), read("Jan  1 00:00:10"));
        assert_eq!(Stamp::distance(Clock::Syslog, before.1, after.1), 20_000);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "é", "2026-02-03", "Feb", "Feb é 04:05:06", "[1.2", "12:34:56", "2026-13-03T04:05:06Z", "99"]
        {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
        assert_eq!(Stamp::klog("0203 04:05"), None);
        assert_eq!(Stamp::find("node-7 é x"), None);
        assert_eq!(Stamp::find("<30>1 2026-02-03T04:05:06Z node").unwrap().words, "2026-02-03T04:05:06Z");
    }
}
