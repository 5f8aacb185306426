//! Where reports lie: a folder of root's own, in which only the newest stay, by number and by size. Nobody depends
//! on a report, so whatever fails here is an error for who writes and nothing more.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Report;
use runsc_guard_sandbox::sys::file;

/// Reports kept.
pub const KEPT: usize = 100;
/// What they may weigh in all.
pub const WEIGHT: u64 = 64 << 20;

/// A folder with reports.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// This one, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the report of this escalation lies: by its beginning, so that it is replaced as it goes on.
    pub fn file(&self, report: &Report) -> PathBuf {
        let Report { namespace, sandbox, taken_at_ns, .. } = report;
        self.0.join(format!("{}-{namespace}-{sandbox}.json", taken_at_ns / 1_000_000))
    }

    /// Writes it, or writes it anew; gives the file.
    pub fn write(&self, report: &Report) -> io::Result<PathBuf> {
        let content = serde_json::to_vec(report)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let path = self.file(report);
        self.make_room(&path, content.len() as u64)?;
        file::replace(&path, &content, 0o600)?;
        Ok(path)
    }

    /// Removes the oldest reports until there is room for one of `size` bytes at `path`, and nothing else that may
    /// lie there.
    fn make_room(&self, path: &Path, size: u64) -> io::Result<()> {
        let mut others: Vec<(SystemTime, PathBuf, u64)> = fs::read_dir(&self.0)?
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_report) && entry.path() != path)
            .filter_map(|entry| {
                // Of a link that somebody has planted this is the link itself, and that is what goes.
                let meta = entry.metadata().ok().filter(|meta| !meta.is_dir())?;
                Some((meta.modified().ok()?, entry.path(), meta.len()))
            })
            .collect();
        others.sort();
        let mut weight: u64 = size + others.iter().map(|(.., size)| size).sum::<u64>();
        let mut count = others.len() + 1;
        for (_, path, size) in others {
            if count <= KEPT && weight <= WEIGHT {
                break;
            }
            let _ = fs::remove_file(path);
            (count, weight) = (count - 1, weight - size);
        }
        Ok(())
    }
}

/// Whether a file of this name is a report: `<milliseconds>-<namespace>-<id>.json`; a draft begins with a dot.
pub fn is_report(name: &str) -> bool {
    name.ends_with(".json") && name.split('-').next().is_some_and(|time| time.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn report(at_ms: u64) -> Report {
        Report::begin("ns", "box", at_ms * 1_000_000)
    }

    fn age(path: &Path, seconds: u64) {
        let at = SystemTime::now() - std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn only_the_newest_reports_stay_and_nothing_else_is_touched() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::new(&base.path().join("reports"));
        let path = folder.write(&report(1_000_000)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&path)), (0o700, 0o600));
        fs::write(folder.path().join("notes.json"), "mine").unwrap();
        for at in 0..KEPT + 5 {
            fs::write(folder.path().join(format!("{at}-ns-box.json")), "{}").unwrap();
            age(&folder.path().join(format!("{at}-ns-box.json")), 1000 - at as u64);
        }
        assert_eq!(folder.write(&report(1_000_000)).unwrap(), path);
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, KEPT + 1);
        assert!(path.exists() && folder.path().join("notes.json").exists());
        assert!(!folder.path().join("5-ns-box.json").exists());
    }

    #[test]
    fn the_oldest_go_before_the_folder_becomes_too_heavy() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::new(base.path());
        for at in 0..3_u64 {
            let path = base.path().join(format!("{at}-ns-box.json"));
            fs::File::create(&path).unwrap().set_len(WEIGHT / 2 - 1).unwrap();
            age(&path, 100 - at);
        }
        folder.write(&report(1_000_000)).unwrap();
        let there = |at: u64| base.path().join(format!("{at}-ns-box.json")).exists();
        assert_eq!([0, 1, 2].map(there), [false, false, true]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_no_panic() {
        assert!(Folder::new(Path::new("/proc/nowhere")).write(&report(1)).is_err());
    }
}
