//! Signals that ask for an early end are taken down, and looked at between two steps: what was started is removed first.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// Whether to stop.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// From now on; before any other thread is started, which would take the signals otherwise.
    pub(super) fn watch() -> Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block().context("signals cannot be blocked")?;
        let told = Arc::new(AtomicI32::new(0));
        let tell = Arc::clone(&told);
        let wait = move || {
            while let Ok(signal) = signals.wait() {
                tell.store(signal as i32, Ordering::Relaxed);
            }
        };
        thread::Builder::new().spawn(wait).context("no thread can be made")?;
        Ok(Self(told))
    }

    /// The signal that came last.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}
