//! Hangs and leaks that are known upstream: the table `known_hangs.toml`, and which of them a release has. Pure.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) mod containerd;

use containerd::{Bug, Version};

static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("known_hangs.toml")).unwrap_or_default());

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    read: String,
    newest_read: Release,
    newest_containerd: Version,
    hang: Vec<Hang>,
    containerd: Vec<Bug>,
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
        Self::of_day(date).map(|day| Some(Self { number: number.parse().ok()?, ..day }))?
    }

    /// What was built from the main branch on this day, `20260905`.
    pub(crate) fn of_day(text: &str) -> Option<Self> {
        let is_day = text.len() == 8 && text.starts_with("20") && text.bytes().all(|c| c.is_ascii_digit());
        is_day.then(|| text.parse().ok())?.map(|date| Self { date, number: 0 })
    }

    /// Whether it is younger than all that the table knows of.
    pub(crate) fn is_unknown(self) -> bool {
        self > TABLE.newest_read
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
    /// The release from which on none has it.
    pub(crate) fixed: Option<Release>,
    /// No release had the change yet; it was in the main branch by this day (YYYYMMDD).
    merged_by: Option<u32>,
    /// Words in the stacks and wait channels of a sandbox that hangs so; in a healthy one they mean nothing.
    #[serde(default)]
    pub(crate) signs: Vec<String>,
    /// Words that gVisor logs when it notices this hang itself.
    #[serde(default)]
    says: Vec<String>,
    /// Words with which any Go program ends: this crash, where the stack that follows is gVisor's.
    #[serde(default, skip_serializing)]
    crashes: Vec<String>,
    /// It costs memory or processes, and hangs nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaks: bool,
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

    /// Nobody has mended it yet: no release is better than another.
    pub(crate) fn is_open(&self) -> bool {
        self.fixed.is_none() && self.merged_by.is_none()
    }

    /// Where it is mended, in words.
    pub(crate) fn cure(&self) -> String {
        match (self.fixed, self.merged_by) {
            (Some(fixed), _) => format!("fixed in {fixed}"),
            (None, Some(day)) => format!("fixed in the first release after {day}"),
            (None, None) => format!("open upstream in {}", TABLE.read),
        }
    }
}

/// When upstream was read for all this.
pub(crate) fn read() -> &'static str {
    &TABLE.read
}

/// All of them, the youngest first.
pub(crate) fn all() -> &'static [Hang] {
    &TABLE.hang
}

/// Those that `release` still has, as far as is known.
pub(crate) fn unfixed_in(release: Release) -> impl Iterator<Item = &'static Hang> {
    all().iter().filter(move |hang| !hang.is_fixed_in(release))
}

/// The hang that gVisor itself tells of in this line of a log.
pub(crate) fn told_in(line: &str) -> Option<&'static Hang> {
    all().iter().find(|hang| hang.says.iter().any(|words| line.contains(words.as_str())))
}

/// The crash that it is if this line of a log is gVisor's.
pub(crate) fn crash_in(line: &str) -> Option<&'static Hang> {
    all().iter().find(|hang| hang.crashes.iter().any(|words| line.contains(words.as_str())))
}

/// containerd's bugs that `version` has, as far as is known.
pub(crate) fn bugs_of(version: Version) -> impl Iterator<Item = &'static Bug> {
    TABLE.containerd.iter().filter(move |bug| bug.is_in(version))
}

/// Where a bug is mended, in words.
pub(crate) fn cure_of(bug: &Bug) -> String {
    bug.fixed().unwrap_or_else(|| format!("open upstream in {}", TABLE.read))
}

/// Whether this containerd is younger than all that the table knows of.
pub(crate) fn is_newer(version: Version) -> bool {
    version > TABLE.newest_containerd
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap()
    }

    #[test]
    fn releases_sort_by_date_and_number() {
        let sorted =
            ["20240325.0", "release-20251118.0", "20260413.0", "20260413.1", "20260504.0-3-gabc1234"];
        assert!(sorted.map(release).is_sorted_by(|one, next| one < next));
        assert_eq!(release("release-20260504.0-3-gabc1234"), release("20260504.0"));
        assert_eq!(release("20260504.0").to_string(), "release-20260504.0");
        assert_eq!(Release::of_day("20260905"), Some(release("20260905.0")));
        for wrong in
            ["VERSION_MISSING", "", "2026.1", "release-2026050x.0", "20260504", "20260504.x", "1.2.3"]
        {
            assert_eq!(Release::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_table_is_whole() {
        let table: Table = toml::from_str(include_str!("known_hangs.toml")).unwrap();
        assert_eq!(table.hang.len(), all().len());
        let mut ids: Vec<&str> = all().iter().map(|hang| hang.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all().len(), "an id stands twice");
        for hang in all() {
            assert!(!hang.upstream.is_empty() && !hang.symptom.is_empty(), "{}", hang.id);
            assert!(hang.fixed.is_none() || hang.merged_by.is_none(), "{}: two cures", hang.id);
            assert!(hang.fixed.is_none_or(|fixed| fixed <= table.newest_read), "{}", hang.id);
        }
        let fixed: Vec<Release> = all().iter().filter_map(|hang| hang.fixed).collect();
        assert!(fixed.is_sorted_by(|one, next| one >= next), "the youngest comes first");
    }

    #[test]
    fn a_hang_is_there_until_the_release_that_mends_it() {
        let has = |text: &str, id: &str| unfixed_in(release(text)).any(|hang| hang.id == id);
        assert!(has("20260629.0", "socket-leak") && !has("20260706.0", "socket-leak"));
        assert!(has("20260817.0", "stuck-stub") && has("20260831.0", "stuck-stub"), "no release is known to");
        assert!(!has("20260914.0", "stuck-stub") && has("20260914.0", "tcp-connect"));
        // Tags are not in order of time: 20250929.0 lacks what 20250915.0 has.
        assert!(has("20250929.0", "chdir-cycle") && !has("20251006.0", "chdir-cycle"));
        assert!(all().iter().all(|hang| hang.id != "clock-deadlock"), "upstream: there is none");
        assert_eq!(unfixed_in(release("20230101.0")).count(), all().len());
    }

    #[test]
    fn a_hang_is_known_by_what_gvisor_says_of_it() {
        let id = |text: &str| told_in(text).map(|hang| hang.id.as_str());
        let line =
            "Systrap task goroutine has been waiting on ThreadContext.State futex too long. ThreadContext: 1";
        assert_eq!(id(line), Some("stuck-stub"));
        assert_eq!(id("kernel.(*Kernel).WaitExited"), None, "every sentry has that in its stacks");
        let crash = "fatal error: concurrent map writes";
        assert_eq!((id(crash), crash_in(crash).map(|hang| hang.id.as_str())), (None, Some("concurrent-map")));
    }

    #[test]
    fn the_cure_is_told() {
        let cure = |id: &str| all().iter().find(|hang| hang.id == id).map(Hang::cure).unwrap();
        assert_eq!(cure("socket-leak"), "fixed in release-20260706.0");
        assert_eq!(cure("stuck-stub"), "fixed in the first release after 20260831");
        assert_eq!(cure("tcp-connect"), "open upstream in 2026-09");
        assert!(release("20260905.0").is_unknown() && !release("20260817.0").is_unknown());
    }

    #[test]
    fn a_bug_is_there_until_its_line_mends_it() {
        let has = |text: &str, id: &str| bugs_of(version(text)).any(|bug| bug.id == id);
        for (text, expected) in [
            ("1.7.35", false),
            ("2.0.5", true),
            ("2.0.6", false),
            ("2.0.10", false),
            ("2.1.0", false),
            ("2.4.2", false),
        ] {
            assert_eq!(has(text, "no-shutdown"), expected, "{text}");
        }
        assert!(has("2.1.6", "churn-leak") && !has("2.2.0", "churn-leak") && !has("1.7.35", "churn-leak"));
        assert!(has("2.3.7", "empty-pids") && !has("2.4.0", "empty-pids"));
        assert!(has("2.9.0", "shim-goroutines"), "open");
        assert!(is_newer(version("2.5.0")) && !is_newer(version("2.3.7")));
    }

    #[test]
    fn the_cure_of_a_bug_is_told() {
        let cure = |id: &str| TABLE.containerd.iter().find(|bug| bug.id == id).map(cure_of).unwrap();
        assert_eq!(cure("no-shutdown"), "fixed in 2.0.6, 2.1.0");
        assert!(
            bugs_of(version("1.7.35")).all(|bug| bug.worth().is_none()),
            "nothing that the guard does not do"
        );
        assert_eq!(cure("leaked-shim"), "open upstream in 2026-09");
    }
}
