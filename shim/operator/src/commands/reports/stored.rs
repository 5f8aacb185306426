//! One report, as it lies in its folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runsc_guard_node::report::{Report, VERSION};
use runsc_guard_sandbox::sys::file::{self, ReadError};
use serde::Serialize;

use super::verdict;
use crate::survey::sight::Blind;

/// No report is larger: what it holds is bounded when it is written.
const LIMIT: u64 = 4 << 20;

/// One report.
#[derive(Debug, Serialize)]
pub(crate) struct Stored {
    /// What it says in one line.
    pub(crate) verdict: String,
    /// Where it lies.
    pub(crate) file: PathBuf,
    /// As it was written.
    #[serde(flatten)]
    pub(crate) report: Report,
}

impl Stored {
    /// None if it is damaged, or of a later format than this command knows; an error if it may not be read.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Blind> {
        let content = match file::read(path, LIMIT) {
            Ok(content) => content,
            Err(ReadError::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Blind::Closed { path: path.to_owned(), error });
            }
            Err(_) => return Ok(None),
        };
        let report =
            serde_json::from_slice(&content).ok().filter(|report: &Report| report.version <= VERSION);
        Ok(report.map(|report| Self::of(report, path)))
    }

    /// With its verdict.
    pub(crate) fn of(report: Report, path: &Path) -> Self {
        Self { verdict: verdict::verdict(&report), file: path.to_owned(), report }
    }

    /// When the escalation began.
    pub(crate) fn taken_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.report.taken_at_ns)
    }

    /// Whether nothing will be added to it.
    pub(crate) fn is_over(&self) -> bool {
        self.report.ended_ms.is_some()
    }
}
