//! SIGKILL, by a pidfd that is certain to be the process that is meant.

use nix::sys::signal::Signal;

use crate::processes::find::descendants;
use crate::sys::identity::Identity;
use crate::sys::kernel::PidFd;

/// Sends it; none if the process is gone, or cannot be opened: then the next round tries again.
pub(crate) fn sigkill(identity: Identity) -> Option<PidFd> {
    let fd = identity.open().ok()?;
    match fd.send(Signal::SIGKILL) {
        Ok(()) => Some(fd),
        Err(error) => {
            log::warn!("guard: pid {}: SIGKILL: {error}", identity.pid);
            None
        }
    }
}

/// Ends one process that the caller started, and what descends from it.
pub(crate) fn sigkill_tree(root: Identity) {
    let below = descendants(root);
    for identity in [root].into_iter().chain(below.iter().map(|process| process.identity)) {
        sigkill(identity);
    }
}
