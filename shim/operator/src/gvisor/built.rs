//! A release of gVisor, and how others write its number.

use crate::known::Release;

/// A release, and who tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// Which.
    pub(crate) release: Release,
    /// In words: a file, or what in it.
    pub(crate) by: String,
}

/// The release in a version as distributions write it: `20260810.0`, `release-20260714.0`, `0.0~20240729.0-4`,
/// `20250707`. Other digits in it (a hash, a time) are longer or shorter.
pub(super) fn dated(version: &str) -> Option<Release> {
    let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.');
    numbers
        .flat_map(|number| {
            let day = number.split('.').position(|part| Release::of_day(part).is_some())?;
            let parts: Vec<&str> = number.split('.').skip(day).take(2).collect();
            Release::parse(&parts.join(".")).or_else(|| Release::of_day(parts.first()?))
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_in_what_distributions_make_of_it() {
        for (version, release) in [
            ("20260810.0", "20260810.0"),
            ("release-20260714.1-3-gabc", "20260714.1"),
            ("0.0~20240729.0-4+b1", "20240729.0"),
            ("20250707", "20250707.0"),
            ("v20260427.0", "20260427.0"),
            ("gvisor-20240529.0", "20240529.0"),
            ("unstable-20230101", "20230101.0"),
        ] {
            assert_eq!(dated(version), Release::parse(release), "{version}");
        }
        for none in ["", "1.2.3", "VERSION_MISSING", "19990101.0", "202607141.0", "0.0.1-20260714120000"] {
            assert_eq!(dated(none), None, "{none}");
        }
    }
}
