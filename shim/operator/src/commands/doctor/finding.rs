//! One line of `doctor`.

use serde::Serialize;

use crate::known::Hang;
use crate::known::containerd::Bug;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, and something follows that one should know.
    Warn,
    /// It does not work, or pods can hang.
    Fail,
}

/// What was found, and what to do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// What it is about.
    pub(crate) about: String,
    /// What was found.
    pub(crate) what: String,
    /// What to type, or which file and key to change.
    pub(crate) remedy: Option<String>,
    /// Known hangs that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hangs: Vec<&'static Hang>,
    /// Known bugs of containerd that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bugs: Vec<&'static Bug>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(about: &str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            about: about.to_owned(),
            what: what.into(),
            remedy: None,
            hangs: Vec::new(),
            bugs: Vec::new(),
        }
    }

    /// It works, but.
    pub(crate) fn warn(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, remedy: Some(remedy.into()), ..Self::ok(about, what) }
    }

    /// It does not work.
    pub(crate) fn fail(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, remedy: Some(remedy.into()), ..Self::ok(about, what) }
    }
}
