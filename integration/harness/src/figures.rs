//! What one process takes up: what must stay flat is measured from outside.

use crate::process::Process;
use anyhow::{Context as _, Result};
use std::fmt;

/// What one process takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// What of it is no file's: nobody shares it, and only by that can it leak. In KiB.
    pub own_kib: u64,
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub fds: u64,
}

impl Figures {
    /// What it takes up now.
    pub fn of(process: &Process) -> Result<Self> {
        let number = |field| process.status_number(field).with_context(|| format!("gone: {process}"));
        let fds = std::fs::read_dir(format!("/proc/{}/fd", process.pid))?.count() as u64;
        let (rss_kib, own_kib) = (number("VmRSS")?, number("RssAnon")?);
        Ok(Self { rss_kib, own_kib, threads: number("Threads")?, fds })
    }

    /// The greater of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib.max(other.rss_kib),
            own_kib: self.own_kib.max(other.own_kib),
            threads: self.threads.max(other.threads),
            fds: self.fds.max(other.fds),
        }
    }

    /// Whether this is no more than `before`, but for so many KiB, and some threads and descriptors that come
    /// and go.
    pub fn is_flat_since(self, before: Self, slack_kib: u64) -> bool {
        const FEW: u64 = 4;
        self.rss_kib <= before.rss_kib + slack_kib
            && self.threads <= before.threads + FEW
            && self.fds <= before.fds + FEW
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} threads, {} fds", self.rss_kib, self.threads, self.fds)
    }
}
