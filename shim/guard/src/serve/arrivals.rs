//! Connections as they come in.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runsc_guard_core::io::Input;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::connection::{self, Service};
use super::message::Message;
use super::socket::Socket;
use crate::fd_limit;

/// How long nobody is let in after the kernel has refused to.
const PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that connections may not take: the guard needs some to look at processes and to end them.
const RESERVED: u64 = 32;

/// How many are connected.
#[derive(Clone)]
pub(crate) struct Callers {
    count: Arc<AtomicUsize>,
    reports: UnboundedSender<Message>,
}

impl Callers {
    /// Nobody; that the last one leaves is reported.
    pub(crate) fn none(reports: UnboundedSender<Message>) -> Self {
        Self { count: Arc::default(), reports }
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// One more, until this is dropped.
    pub(super) fn one_more(&self) -> Present {
        self.count.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }
}

/// One of them.
pub(super) struct Present(Callers);

impl Drop for Present {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.0.reports.send(Message::Input(Input::Deserted));
        }
    }
}

/// Lets in whoever comes, each with a service of its own, for as long as the runtime lives.
pub(super) async fn serve<T: Service>(listener: UnixListener, service: impl Fn() -> T) {
    // Said once per shortage.
    let mut short = false;
    loop {
        match listener.accept().await.and_then(|(stream, _)| admit(stream)) {
            Ok(socket) => {
                short = false;
                tokio::spawn(connection::serve(socket, service()));
            }
            // Tried again at once it would fail at once, forever and at the expense of everything else.
            Err(error) => {
                if !std::mem::replace(&mut short, true) {
                    let limit = fd_limit::limit();
                    log::error!("no more connections for now ({limit} descriptors allowed): {error}");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn admit(stream: UnixStream) -> io::Result<Socket> {
    if is_reserved(stream.as_raw_fd().unsigned_abs().into(), fd_limit::limit()) {
        // Dropped, which its caller sees at once.
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Socket::new(stream)
}

/// Descriptors are given out from below, so a high one says that few are left.
fn is_reserved(number: u64, limit: u64) -> bool {
    number.saturating_add(RESERVED) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_not_for_connections() {
        assert!(!is_reserved(3, 1024) && !is_reserved(991, 1024));
        assert!(is_reserved(992, 1024) && is_reserved(1023, 1024) && is_reserved(3, 16));
        assert!(!is_reserved(1 << 30, u64::MAX));
    }
}
