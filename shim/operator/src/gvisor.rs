//! What there is to know of gVisor's programs without running them, and of their flags.

mod build_info;
mod built;
pub(crate) mod config;
pub(crate) mod flags;
pub(crate) mod packaged;

use std::path::{Path, PathBuf};

pub(crate) use built::Built;

use crate::known::Release;

/// From when gVisor's tarball has the sentry as a program of its own, in a folder beside runsc.
const SIDECARS: &str = "20260801";
/// That folder, and what is in it that each sandbox needs.
const FOLDER: &str = "gvisor-bin";
const SENTRY: &str = "gvisor_sentry";

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
