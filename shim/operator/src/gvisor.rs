//! What there is to know of gVisor's programs without running them, and of their flags.

mod build_info;
pub(crate) mod config;
pub(crate) mod flags;
pub(crate) mod packaged;

use std::path::{Path, PathBuf};

use crate::known::Release;

/// From when gVisor's tarball has the sentry as a program of its own, in a folder beside runsc.
const SIDECARS: &str = "20260801";
/// That folder, and what is in it that each sandbox needs.
const FOLDER: &str = "gvisor-bin";
const SENTRY: &str = "gvisor_sentry";

/// A release, and who tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// Which.
    pub(crate) release: Release,
    /// In words: a file, or what in it.
    pub(crate) by: String,
}

/// The release of a runsc that does not tell it: its own file says it where a Go module was built (a dated
/// pseudo-version), else who has installed it.
pub(crate) fn built(root: &Path, runsc: &Path) -> Option<Built> {
    build_info::built(runsc).or_else(|| packaged::built(root, runsc))
}

/// What of the released layout is missing beside this runsc; the sentry's folder came in August 2026.
pub(crate) fn missing_beside(runsc: &Path, release: Release) -> Option<PathBuf> {
    let real = std::fs::canonicalize(runsc).ok()?;
    let folder = real.parent()?.join(FOLDER);
    let is_due = Release::of_day(SIDECARS).is_some_and(|first| release >= first);
    match (folder.is_dir(), folder.join(SENTRY).is_file()) {
        (false, _) => is_due.then_some(folder),
        (true, false) => Some(folder.join(SENTRY)),
        (true, true) => None,
    }
}

/// The release in a version as distributions write it: `20260810.0`, `release-20260714.0`, `0.0~20240729.0-4`,
/// `20250707`. Other digits in it (a hash, a time) are longer or shorter.
fn dated(version: &str) -> Option<Release> {
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
    use std::fs;

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

    #[test]
    fn the_sentrys_folder_is_missed_where_the_release_brings_it() {
        let folder = tempfile::tempdir().unwrap();
        let (runsc, link) = (folder.path().join("opt/runsc"), folder.path().join("runsc"));
        fs::create_dir(folder.path().join("opt")).unwrap();
        fs::write(&runsc, "").unwrap();
        std::os::unix::fs::symlink(&runsc, &link).unwrap();
        let missing = |day: &str| missing_beside(&link, Release::of_day(day).unwrap());
        let beside = folder.path().join("opt/gvisor-bin");
        assert_eq!(missing("20260714"), None, "it was one program");
        assert_eq!(missing("20260817"), Some(beside.clone()), "beside the program, not beside the link");
        fs::create_dir(&beside).unwrap();
        assert_eq!(missing("20260714"), Some(beside.join("gvisor_sentry")), "half of it is wrong in any");
        fs::write(beside.join("gvisor_sentry"), "").unwrap();
        assert_eq!(missing("20260817"), None);
    }
}
