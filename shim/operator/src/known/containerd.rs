//! containerd's own bugs, as a user of gVisor sees them, and which of them a version has. Pure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A version of containerd's: `2.0.6`, or a line of versions: `2.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// `v2.4.2`, `1.6.20~ds1`, `2.1.5-k3s1`, `2.0.0-rc.1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').splitn(3, '.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?);
        let patch = parts.next().unwrap_or("0");
        let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
        Some(Self { major, minor: minor.parse().ok()?, patch: patch[..digits].parse().ok()? })
    }

    fn line(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no version of containerd's")))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One of its bugs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bug {
    /// A short name.
    pub(crate) id: String,
    /// What is seen of it.
    pub(crate) symptom: String,
    /// Issues, pull requests and commits.
    pub(crate) upstream: Vec<String>,
    /// The first line that has it, where that is known.
    since: Option<Version>,
    /// The first version of each line that has it no more.
    #[serde(default)]
    fixed: Vec<Version>,
    /// The guard keeps it from costing anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    harmless: bool,
}

impl Bug {
    /// Whether `version` is known to have it.
    pub(crate) fn is_in(&self, version: Version) -> bool {
        let of_its_line = self.fixed.iter().find(|fixed| fixed.line() == version.line());
        let is_fixed = match of_its_line {
            Some(fixed) => version >= *fixed,
            None => self.fixed.iter().max().is_some_and(|fixed| version > *fixed),
        };
        !is_fixed && self.since.is_none_or(|since| version >= since)
    }

    /// The newest of the versions that mend it, where it costs a guarded pod something that another version would not.
    pub(crate) fn worth(&self) -> Option<Version> {
        self.fixed.iter().max().copied().filter(|_| !self.harmless)
    }

    /// Where it is mended, in words; `None` if nobody has yet.
    pub(super) fn fixed(&self) -> Option<String> {
        let fixed: Vec<String> = self.fixed.iter().map(ToString::to_string).collect();
        (!fixed.is_empty()).then(|| format!("fixed in {}", fixed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (text, read) in [
            ("v2.4.2", "2.4.2"),
            ("1.6.20~ds1", "1.6.20"),
            ("2.1.5-k3s1", "2.1.5"),
            ("v2.0.0-rc.1", "2.0.0"),
            ("2.3", "2.3.0"),
            ("1.7.30+unknown", "1.7.30"),
        ] {
            assert_eq!(version(text).to_string(), read);
        }
        for wrong in ["", "unknown", "2", "2.x.1", "v.1.2"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }
}
