//! What a note tells in fields: the same in the log's line and in containerd's event, by the names that the report and
//! the metrics have too ([`keys`]).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use log::kv::{ToValue, Value};
use runsc_guard_core::io::{Note, keys};

use super::recent::millis;
use super::words;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A number, in JSON too.
    Number(u64),
    /// Words.
    Text(String),
}

/// All of a line or of an event, by name.
pub(super) type Fields = Vec<(&'static str, Field)>;

impl Field {
    /// How much there is of something.
    pub(super) fn count<T>(of: &[T]) -> Self {
        Self::Number(u64::try_from(of.len()).unwrap_or(u64::MAX))
    }

    /// A time.
    pub(super) fn millis(time: Duration) -> Self {
        Self::Number(millis(time))
    }
}

impl ToValue for Field {
    fn to_value(&self) -> Value<'_> {
        match self {
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Those of a note, about which there may be a report.
pub(super) fn of(note: &Note, report: Option<&PathBuf>) -> Fields {
    let mut fields = Fields::new();
    let text = |text: &str| Field::Text(text.to_owned());
    fields.extend(note.phase().map(|phase| (keys::PHASE, text(phase.as_str()))));
    fields.extend(note.cause().map(|cause| (keys::CAUSE, text(cause.as_str()))));
    fields.extend(words::sign(note).map(|sign| (keys::SIGN, Field::Text(sign))));
    match note {
        Note::Wedged { waited, .. } | Note::Silent(waited) => {
            fields.push((keys::WAITED_MS, Field::millis(*waited)));
        }
        Note::Ended { took, left, .. } => {
            fields.extend([(keys::TOOK_MS, Field::millis(*took)), (keys::LEFT, Field::count(left))]);
        }
        Note::Unkillable(left) | Note::ReleasedLate(left) => fields.push((keys::LEFT, Field::count(left))),
        Note::CreateStuck { container, .. } => fields.push((keys::CONTAINER, text(container))),
        Note::ReleasedOne { container, waited, left } => fields.extend([
            (keys::CONTAINER, text(container)),
            (keys::WAITED_MS, Field::millis(*waited)),
            (keys::LEFT, Field::count(left)),
        ]),
        Note::RealShimDied | Note::NodeGoesDown | Note::Late(_) | Note::Forgotten | Note::AnswersAgain(_) => {
        }
    }
    fields.extend(report.map(|file| (keys::REPORT, Field::Text(file.display().to_string()))));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_core::io::{Cause, ProcessId};

    fn told(note: &Note) -> String {
        let fields = of(note, Some(&PathBuf::from("/r/1")));
        fields.iter().map(|(name, value)| format!("{name}={value};")).collect()
    }

    #[test]
    fn each_note_has_what_it_knows_by_the_common_names() {
        let waited = Duration::from_millis(2_000);
        let cause = Cause::KillWithoutExit { process: ProcessId::init("a"), acknowledged: false };
        let sign = cause.to_string();
        for (note, fields) in [
            (
                Note::Wedged { cause, waited },
                format!("phase=begins;cause=kill_unacknowledged;sign={sign};waited_ms=2000;"),
            ),
            (
                Note::Ended { took: waited, left: vec!["a".into()], unsure: false },
                "phase=ends;took_ms=2000;left=1;".to_owned(),
            ),
            (Note::Unkillable(vec!["a".into(), "b".into()]), "phase=unkillable;left=2;".to_owned()),
            (
                Note::ReleasedOne { container: "c".into(), waited, left: Vec::new() },
                "cause=delete_stuck;container=c;waited_ms=2000;left=0;".to_owned(),
            ),
            (
                Note::CreateStuck { container: "c".into(), stuck: "x".into() },
                "cause=create_stuck;container=c;".to_owned(),
            ),
            (Note::RealShimDied, String::new()),
        ] {
            assert_eq!(self::told(&note), format!("{fields}report=/r/1;"));
        }
    }
}
