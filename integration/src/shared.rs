//! One host for the tests of a binary that run at the same time.

use crate::Host;
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A host that lives as long as some test holds it: a `static` itself would never be dropped, and so would
/// leave its containerd behind.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Weak<Host>>);

impl Shared {
    /// For a `static`.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The host that is there, or one that `make` makes.
    pub fn get(&self, make: impl FnOnce() -> Result<Host>) -> Result<Arc<Host>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = slot.upgrade() {
            return Ok(host);
        }
        let host = Arc::new(make()?);
        *slot = Arc::downgrade(&host);
        Ok(host)
    }
}
