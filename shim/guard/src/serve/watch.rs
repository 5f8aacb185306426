//! What the runtime is asked to tell of: descriptors that stay what they are until they are dropped.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use runsc_guard_sandbox::diagnostics::control::Question;
use runsc_guard_sandbox::sys::kernel::PidFd;

/// Owns its descriptor, and names the same one from its first moment to its last.
pub(crate) trait Owner: AsRawFd {}
impl Owner for UnixStream {}
impl Owner for PidFd {}
impl Owner for Question {}

/// Has the runtime tell of nothing about this descriptor but what is asked for.
pub(crate) fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor is open and the same until its owner is dropped, which is after its registration: so
    // promise those that are an `Owner`, and no others can be.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest) }?)
}

/// Has the runtime tell when this process has exited.
pub(crate) fn watch_death(process: PidFd) -> io::Result<AsyncFd<PidFd>> {
    watch(process, Interest::READABLE)
}
