//! What the keys of `[guard]` take, and what no key can hold alone. The bounds come from the limits of containerd and
//! CRI; a deadline beyond them would be an answer after the caller has left.

use std::fmt;
use std::time::Duration;

use runsc_guard_core::policy::{DELETE_BINARY_CLEAN, Policy, Watchdog, budgets, limits};
use toml::de::DeValue;

use super::values::{LogFormat, StatsWay};

/// What a key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The whole of `[guard]`.
    Table,
    /// true or false.
    Boolean,
    /// A duration within bounds.
    Duration(Bounds),
    /// The same, or none at all.
    DurationOrNever(Bounds),
    /// The real shim.
    Program,
    /// An absolute path.
    Folder,
    /// One of three words.
    Watchdog,
    /// One of two words.
    Stats,
    /// One of two words.
    LogFormat,
    /// At most what another key leaves.
    Beside {
        /// The most that this key may be.
        at_most: Duration,
        /// The other key.
        other: &'static str,
        /// Its value.
        value: Duration,
    },
    /// At least another key.
    NotBelow {
        /// The other key.
        other: &'static str,
        /// Its value.
        value: Duration,
    },
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accepted::Table => f.write_str("a table"),
            Accepted::Boolean => f.write_str("true or false"),
            Accepted::Duration(bounds) => write!(f, "{bounds}"),
            Accepted::DurationOrNever(bounds) => write!(f, "{bounds}, or \"0s\" for never"),
            Accepted::Program => {
                f.write_str("the name of a program on PATH or an absolute path, as a string")
            }
            Accepted::Folder => f.write_str("an absolute path, as a string"),
            Accepted::Watchdog => f.write_str("\"off\", \"report\" or \"kill\""),
            Accepted::Stats => f.write_str("\"direct\" or \"shim\""),
            Accepted::LogFormat => f.write_str("\"logfmt\" or \"json\""),
            Accepted::Beside { at_most, other, value } => {
                let (at_most, value) =
                    (humantime::format_duration(*at_most), humantime::format_duration(*value));
                write!(
                    f,
                    "at most \"{at_most}\" where {other} is \"{value}\", so that one exit is \
                     handled within the 10s that CRI gives it"
                )
            }
            Accepted::NotBelow { other, value } => {
                write!(f, "at least {other}, which is \"{}\"", humantime::format_duration(*value))
            }
        }
    }
}

/// The shortest and the longest time that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub least: Duration,
    /// The longest.
    pub most: Duration,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (humantime::format_duration(self.least), humantime::format_duration(self.most));
        write!(f, "a duration from \"{least}\" to \"{most}\", as a string such as \"1500ms\" or \"10s\"")
    }
}

/// Below this a healthy runsc on a busy node is taken for a hung one.
pub(super) const LEAST: Duration = Duration::from_millis(100);
/// How much of CRI's budget for one exit the arithmetic leaves free.
const SPARE: Duration = Duration::from_secs(1);

pub(super) const fn up_to(most: Duration) -> Bounds {
    Bounds { least: LEAST, most }
}

/// What Delete and Shutdown may take together, see [`fit_together`].
pub(super) const DELETE_AND_SHUTDOWN: Duration = limits::EXIT_HANDLING
    .saturating_sub(SPARE)
    .saturating_sub(budgets::TOTAL)
    .saturating_sub(DELETE_BINARY_CLEAN);
/// Why a key was not set.
pub(super) enum Refused {
    /// There is no such key.
    Key,
    /// Its value is not one of these.
    Value(Accepted),
}

/// Holds what no key can hold alone; the error names the key to change. `hard_limit` follows a longer
/// `kill_deadline` where it is not set itself.
pub(super) fn fit_together(
    policy: &mut Policy,
    is_set: impl Fn(&str) -> bool,
) -> Result<(), (&'static str, Accepted)> {
    if policy.delete_deadline + policy.shutdown_deadline > DELETE_AND_SHUTDOWN {
        let (key, other, value) = if is_set("delete_deadline") {
            ("delete_deadline", "shutdown_deadline", policy.shutdown_deadline)
        } else {
            ("shutdown_deadline", "delete_deadline", policy.delete_deadline)
        };
        let at_most = DELETE_AND_SHUTDOWN.saturating_sub(value);
        return Err((key, Accepted::Beside { at_most, other, value }));
    }
    let least = policy.kill_deadline;
    if policy.hard_limit.is_some_and(|limit| limit < least) {
        if is_set("hard_limit") {
            return Err(("hard_limit", Accepted::NotBelow { other: "kill_deadline", value: least }));
        }
        policy.hard_limit = Some(least);
    }
    Ok(())
}

/// humantime 2.4 panics where the sum comes to one second more than a u64 holds. That takes 17 digits, and no
/// duration in bounds more than these, down to its nanoseconds.
const MOST_DIGITS: usize = 15;

/// A duration as people write it, if it is one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits > MOST_DIGITS { None } else { humantime::parse_duration(text).ok() }
}

pub(super) fn duration(value: &DeValue<'_>, bounds: Bounds) -> Result<Duration, Refused> {
    value
        .as_str()
        .and_then(parse)
        .filter(|duration| (bounds.least..=bounds.most).contains(duration))
        .ok_or(Refused::Value(Accepted::Duration(bounds)))
}

pub(super) fn duration_or_never(value: &DeValue<'_>, bounds: Bounds) -> Result<Option<Duration>, Refused> {
    match value.as_str().and_then(parse) {
        Some(Duration::ZERO) => Ok(None),
        Some(duration) if (bounds.least..=bounds.most).contains(&duration) => Ok(Some(duration)),
        _ => Err(Refused::Value(Accepted::DurationOrNever(bounds))),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Refused> {
    value.as_bool().ok_or(Refused::Value(Accepted::Boolean))
}

pub(super) fn program(value: &DeValue<'_>) -> Result<String, Refused> {
    value
        .as_str()
        .filter(|name| !name.is_empty() && !name.contains('\0'))
        .filter(|name| !name.contains('/') || name.starts_with('/'))
        .map(str::to_owned)
        .ok_or(Refused::Value(Accepted::Program))
}

pub(super) fn folder<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Refused> {
    value
        .as_str()
        .filter(|path| path.starts_with('/') && !path.contains('\0'))
        .ok_or(Refused::Value(Accepted::Folder))
}

pub(super) fn stats(value: &DeValue<'_>) -> Result<StatsWay, Refused> {
    match value.as_str() {
        Some("direct") => Ok(StatsWay::Direct),
        Some("shim") => Ok(StatsWay::Shim),
        _ => Err(Refused::Value(Accepted::Stats)),
    }
}

pub(super) fn log_format(value: &DeValue<'_>) -> Result<LogFormat, Refused> {
    match value.as_str() {
        Some("logfmt") => Ok(LogFormat::Logfmt),
        Some("json") => Ok(LogFormat::Json),
        _ => Err(Refused::Value(Accepted::LogFormat)),
    }
}

pub(super) fn watchdog(value: &DeValue<'_>) -> Result<Watchdog, Refused> {
    match value.as_str() {
        Some("off") => Ok(Watchdog::Off),
        Some("report") => Ok(Watchdog::Report),
        Some("kill") => Ok(Watchdog::Kill),
        _ => Err(Refused::Value(Accepted::Watchdog)),
    }
}
