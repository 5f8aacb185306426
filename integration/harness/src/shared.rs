//! One of what is dear to make, a host above all, for the tests of a binary that run at the same time.

use crate::Host;
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// It lives as long as some test holds it: a `static` itself would never be dropped, and so would leave behind what it
/// is, a host its containerd.
#[derive(Debug, Default)]
pub struct Shared<T = Host>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// For a `static`.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The one that is there, or one that `make` makes.
    pub fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = slot.upgrade() {
            return Ok(one);
        }
        let one = Arc::new(make()?);
        *slot = Arc::downgrade(&one);
        Ok(one)
    }
}
