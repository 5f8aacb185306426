//! What the runtime is asked to tell of: descriptors that stay what they are until they are dropped.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout_at;

use runsc_guard_sandbox::diagnostics::control::{Question, Unanswered};
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

/// The answer to a question to the sentry, when all of it has come, at most until then.
pub(super) async fn answer<T: DeserializeOwned>(question: Question, until: Instant) -> Result<T, Unanswered> {
    timeout_at(until.into(), whole(question)).await.unwrap_or(Err(Unanswered::Silent))
}

async fn whole<T: DeserializeOwned>(question: Question) -> Result<T, Unanswered> {
    let mut question = watch(question, Interest::READABLE)?;
    loop {
        let mut ready = question.readable_mut().await?;
        match ready.get_inner_mut().told()? {
            Some(told) => return Ok(told),
            None => ready.clear_ready(),
        }
    }
}
