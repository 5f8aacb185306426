//! Hangs of gVisor that are known upstream: the table `known_hangs.toml`, and which of them a release has. Pure.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("known_hangs.toml")).unwrap_or_default());

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    newest_read: Release,
    hang: Vec<Hang>,
}

/// A release of gVisor's, `release-20260714.0`. They sort by their date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    date: u32,
    number: u32,
}

impl Release {
    /// `release-YYYYMMDD.N`, as `runsc --version` has it. A build some commits later (`-12-gSHA`) counts as the
    /// release: it may lack what the next one has.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("release-").unwrap_or(text);
        let (date, rest) = name.split_once('.')?;
        let number = rest.split('-').next()?;
        let date = (date.len() == 8).then(|| date.parse().ok())??;
        Some(Self { date, number: number.parse().ok()? })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release-{:08}.{}", self.date, self.number)
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no release of gVisor's")))
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One known hang.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hang {
    /// A short name.
    pub(crate) id: String,
    /// What is seen of it.
    pub(crate) symptom: String,
    /// Issues, pull requests and commits.
    pub(crate) upstream: Vec<String>,
    /// The oldest release without it.
    pub(crate) fixed: Option<Release>,
    /// No release had the change yet; it was in the main branch by this day (YYYYMMDD).
    merged_by: Option<u32>,
    /// Words in the stacks and wait channels of a sandbox that hangs so; in a healthy one they mean nothing.
    #[serde(default)]
    pub(crate) signs: Vec<String>,
    /// Words that gVisor logs when it notices this hang itself.
    #[serde(default)]
    says: Vec<String>,
}

impl Hang {
    /// Whether `release` is known not to have it any more.
    pub(crate) fn is_fixed_in(&self, release: Release) -> bool {
        match (self.fixed, self.merged_by) {
            (Some(fixed), _) => release >= fixed,
            (None, Some(day)) => release.date > day,
            (None, None) => false,
        }
    }

    /// Where it is mended, in words.
    pub(crate) fn cure(&self) -> String {
        match (self.fixed, self.merged_by) {
            (Some(fixed), _) => format!("fixed in {fixed}"),
            (None, Some(day)) => format!("fixed in the first release after {day}"),
            (None, None) => format!("not fixed in {} and earlier", TABLE.newest_read),
        }
    }
}

/// All of them, the youngest first.
pub(crate) fn all() -> &'static [Hang] {
    &TABLE.hang
}
