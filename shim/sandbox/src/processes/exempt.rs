//! Children of this process that are no part of a sandbox, though they descend from its guard: the engine's hooks.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::unistd::gettid;

use crate::sys::identity::Identity;
use crate::sys::procfs;

/// By the thread that starts each, from before it is there. Who it is shows when its program runs.
static RUNNING: Mutex<BTreeMap<i32, Option<Identity>>> = Mutex::new(BTreeMap::new());

/// A child that nobody takes for the sandbox's, as long as this exists: one for each thread.
pub(crate) struct Exempt {
    pub(crate) child: Child,
    _known: Known,
}

impl Exempt {
    /// Starts one.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let known = Known(gettid().as_raw());
        running().insert(known.0, None);
        // Nothing is locked meanwhile: the program may lie on a disk that hangs, and whoever looks asks here.
        let child = command.spawn()?;
        let identity = i32::try_from(child.id()).ok().and_then(|pid| Identity::of(pid).ok());
        running().insert(known.0, identity);
        Ok(Self { child, _known: known })
    }
}

/// Takes it from the list, also when it was never started.
struct Known(i32);

impl Drop for Known {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

/// Those that run now.
pub(crate) fn running() -> MutexGuard<'static, BTreeMap<i32, Option<Identity>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is one that runs now: neither it nor what descends from it is the sandbox's.
pub(crate) fn is_exempt(identity: Identity) -> bool {
    let me = std::process::id().cast_signed();
    let running = running().clone();
    running.into_iter().any(|(thread, hook)| match hook {
        Some(hook) => hook == identity,
        // Orphans become the first thread's: what is this one's it has started.
        None => procfs::children_of(me, thread).is_ok_and(|children| children.contains(&identity.pid)),
    })
}
