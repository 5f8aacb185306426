//! Whether there is a container, or one is announced.
//!
//! A containerd that died between `start` and Create, or between Delete and Shutdown, may never come back to the guard:
//! before 1.7 it asks nothing of a shim whose task it does not find.

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::policy::VACANT_FOR;
use crate::time::Time;

/// Containers to come, and since when there is none.
#[derive(Debug)]
pub(crate) struct Vacancy {
    /// Containers announced by `start` whose Create has not come.
    reserved: BTreeSet<String>,
    /// Since when there is no container, or the last place was reserved without one.
    since: Option<Time>,
    /// A private End has come: after that containerd may send no Shutdown.
    no_shutdown_follows: bool,
}

impl Vacancy {
    /// A place is reserved for `first`.
    pub(crate) fn new(first: String) -> Self {
        let reserved = BTreeSet::from([first]);
        Self { reserved, since: Some(Time::default()), no_shutdown_follows: false }
    }

    /// When a guard without a container leaves although no Shutdown has come.
    pub(crate) fn due(&self) -> Option<Time> {
        self.since.map(|since| since + VACANT_FOR)
    }

    /// Takes note whether there is a container; whether that has changed.
    pub(crate) fn look(&mut self, vacant: bool, now: Time) -> bool {
        let changes = vacant != self.since.is_some();
        if changes {
            self.since = vacant.then_some(now);
        }
        changes
    }

    pub(crate) fn reserve(&mut self, container: String) {
        self.reserved.insert(container);
        self.since = None;
    }

    /// A reserved container is created, or not needed any more.
    pub(crate) fn release(&mut self, container: &str) {
        self.reserved.remove(container);
    }

    /// Nobody comes any more.
    pub(crate) fn release_all(&mut self) {
        self.reserved.clear();
    }

    pub(crate) fn is_reserved(&self) -> bool {
        !self.reserved.is_empty()
    }

    pub(crate) const fn no_shutdown_follows(&self) -> bool {
        self.no_shutdown_follows
    }

    pub(crate) const fn expect_no_shutdown(&mut self) {
        self.no_shutdown_follows = true;
    }
}
