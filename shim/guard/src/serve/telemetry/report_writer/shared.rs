//! The thread that makes a file of what is known.

use std::mem;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::open::Open;
use runsc_guard_node::report::{Folder, Report};
use runsc_guard_sandbox::diagnostics::stacks;
use runsc_guard_sandbox::resources::spec;
use runsc_guard_sandbox::sys::kernel::give_way;

/// How long it is not written again before the end: facts come in flocks, and many guards may write at once.
const PAUSE: Duration = Duration::from_millis(500);

/// What the guard and the thread that writes share.
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) runsc: PathBuf,
    pub(super) namespace: String,
    pub(super) sandbox: String,
    pub(super) bundle: PathBuf,
    pub(super) open: Mutex<Option<Box<Open>>>,
    /// Something that is waited for has come: all is known, all is written, or the real shim's goroutines are there.
    pub(super) come: Condvar,
}

impl Shared {
    /// Writes until there is nothing new.
    pub(super) fn write(&self) {
        let mut mine = None;
        // Here and not where the escalation begins: the disk may hang.
        let pod = spec::pod(&self.bundle);
        if let Some(open) = self.lock().as_mut() {
            open.report.pod = open.report.pod.take().or(pod);
        }
        while let Some(report) = self.next(&mut mine) {
            if let Err(error) = self.folder.write(&report)
                && self.complains(&report)
            {
                log::warn!("no report in {}: {error}", self.folder.path().display());
            }
        }
        self.come.notify_all();
    }

    /// What is to be written next by who has written `mine`. Another escalation may have begun while the disk hung:
    /// that one has a writer of its own.
    fn next(&self, mine: &mut Option<u64>) -> Option<Report> {
        let mut place = self.lock();
        let is_mine = |open: &Open| mine.is_none_or(|mine| mine == open.report.taken_at_ns);
        if mine.is_some() {
            let goes_on = |place: &mut Option<Box<Open>>| {
                place.as_ref().is_some_and(|open| is_mine(open) && !open.over)
            };
            let paused = self.come.wait_timeout_while(place, PAUSE, goes_on);
            place = paused.unwrap_or_else(PoisonError::into_inner).0;
        }
        let open = place.as_mut().filter(|open| is_mine(open))?;
        *mine = Some(open.report.taken_at_ns);
        if mem::take(&mut open.unsaved) {
            return Some(open.picture());
        }
        if open.over && open.report.runsc_version.is_empty() && !mem::replace(&mut open.named, true) {
            drop(place);
            return self.name(*mine);
        }
        open.saving = false;
        if open.over {
            *place = None;
        }
        None
    }

    /// This report with runsc's version, where the sentry did not tell it. The last thing to learn, and after all others:
    /// many sandboxes may end at once.
    fn name(&self, mine: Option<u64>) -> Option<Report> {
        give_way();
        let version = stacks::version(&self.runsc, Instant::now() + stacks::NAMED);
        let mut place = self.lock();
        let open = place.as_mut().filter(|open| mine == Some(open.report.taken_at_ns))?;
        open.report.runsc_version = version;
        Some(open.picture())
    }

    /// Whether it is to be told that this report cannot be written: once.
    fn complains(&self, report: &Report) -> bool {
        let mut place = self.lock();
        let open = place.as_mut().filter(|open| open.report.taken_at_ns == report.taken_at_ns);
        open.is_some_and(|open| !mem::replace(&mut open.complained, true))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Box<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
