//! Children of this process that are no part of a sandbox, though they descend from its guard: the engine's hooks.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::identity::Identity;

static RUNNING: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// A child that nobody takes for the sandbox's, as long as this exists.
pub(crate) struct Exempt {
    pub(crate) child: Child,
    pub(crate) identity: Option<Identity>,
}

impl Exempt {
    /// Starts one.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        // Held meanwhile: nobody may find the child before it is known.
        let mut running = running();
        let child = command.spawn()?;
        let identity = i32::try_from(child.id()).ok().and_then(|pid| Identity::of(pid).ok());
        running.extend(identity);
        Ok(Self { child, identity })
    }
}

impl Drop for Exempt {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            running().remove(&identity);
        }
    }
}

/// Those that run now.
pub(crate) fn running() -> MutexGuard<'static, BTreeSet<Identity>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is one that runs now: neither it nor what descends from it is the sandbox's.
pub(crate) fn is_exempt(identity: Identity) -> bool {
    running().contains(&identity)
}
