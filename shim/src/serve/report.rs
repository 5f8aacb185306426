//! What was seen of a wedged sandbox before it was touched, in a file of its own.
//!
//! A report that cannot be written costs a log line and nothing else, and reports never fill a disk: only the
//! newest stay.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::encode;
use crate::file;
use crate::sandbox::evidence::Evidence;

/// Reports kept; each is bounded by what [`Evidence`] keeps.
const KEPT: usize = 100;

/// Where the reports of one sandbox go.
#[derive(Clone, Debug)]
pub struct Report {
    folder: PathBuf,
    namespace: String,
    sandbox: String,
}

#[derive(Serialize)]
struct Content<'a> {
    version: u32,
    namespace: &'a str,
    sandbox: &'a str,
    taken_at_ns: u64,
    evidence: &'a Evidence,
}

impl Report {
    /// The reports of this sandbox, in this folder.
    pub fn new(folder: &Path, namespace: &str, sandbox: &str) -> Self {
        Self { folder: folder.to_owned(), namespace: namespace.to_owned(), sandbox: sandbox.to_owned() }
    }

    /// Writes what was seen, and says where.
    pub(crate) fn write(&self, evidence: &Evidence) {
        let seen = evidence.processes.len() + evidence.omitted;
        match self.try_write(evidence) {
            Ok(path) => log::warn!("{seen} processes seen before anything was touched: {}", path.display()),
            Err(error) => log::warn!(
                "{seen} processes seen before anything was touched; no report in {}: {error}",
                self.folder.display()
            ),
        }
    }

    /// Writes what was seen; gives the file.
    pub fn try_write(&self, evidence: &Evidence) -> io::Result<PathBuf> {
        let taken_at_ns = encode::wall_clock_ns();
        let content =
            Content { version: 1, namespace: &self.namespace, sandbox: &self.sandbox, taken_at_ns, evidence };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.make_room()?;
        let name = format!("{}-{}-{}.json", taken_at_ns / 1_000_000, self.namespace, self.sandbox);
        let path = self.folder.join(name);
        file::replace(&path, &serde_json::to_vec(&content)?, 0o600)?;
        Ok(path)
    }

    /// Removes the oldest reports, and nothing else that may lie there.
    fn make_room(&self) -> io::Result<()> {
        let is_report = |name: &str| {
            name.ends_with(".json") && name.split('-').next().is_some_and(|time| time.parse::<u64>().is_ok())
        };
        let mut reports: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.folder)?
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_report))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        reports.sort();
        let surplus = (reports.len() + 1).saturating_sub(KEPT);
        reports.into_iter().take(surplus).for_each(|(_, path)| drop(fs::remove_file(path)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_reports_stay_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.json"), "mine").unwrap();
        let report = Report::new(folder.path(), "ns", "box");
        let evidence = Evidence { processes: Vec::new(), omitted: 0 };
        for at in 0..KEPT + 5 {
            fs::write(folder.path().join(format!("{at}-ns-box.json")), "{}").unwrap();
        }
        let path = report.try_write(&evidence).unwrap();
        assert!(path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT + 1);
        assert!(folder.path().join("notes.json").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_no_panic() {
        let report = Report::new(Path::new("/proc/nowhere"), "ns", "box");
        assert!(report.try_write(&Evidence { processes: Vec::new(), omitted: 0 }).is_err());
    }
}
