//! Connections as they come in, each with a limit on what its caller may leave unanswered.
//!
//! The ttrpc server reads on while its answers wait to be read, and keeps every one of them. Here a caller that
//! has too much open is not read from until some of it has been answered *and taken*: its own socket then holds
//! it up. Frames are counted where they pass, so the server needs to know nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_core::Stream;
use runsc_guard_core::io::Input;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Sleep, sleep};
use ttrpc::proto::{
    MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST,
    MESSAGE_TYPE_RESPONSE, MessageHeader,
};

use super::message::Message;
use super::socket::Socket;
use crate::fd_limit;

/// What one caller may have unanswered, in bytes; the largest frame fits twice.
const WINDOW: u64 = 2 * MESSAGE_LENGTH_MAX as u64;
/// What a request costs besides its bytes: the task that waits for its answer.
const EACH: u64 = 4096;
/// What is read at once: a request of containerd's, with its header, and seldom more.
const AT_ONCE: usize = 512;
/// How long nobody is let in after the kernel has refused to.
const PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that connections may not take: the guard needs some to look at processes and to end them.
const RESERVED: u64 = 32;

/// The listening socket as a stream of connections.
pub(crate) struct Arrivals {
    listener: UnixListener,
    pause: Option<Pin<Box<Sleep>>>,
    /// Said once per shortage.
    short: bool,
    callers: Callers,
}

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

    fn one_more(&self) -> Present {
        self.count.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }
}

/// One of them.
struct Present(Callers);

impl Drop for Present {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.0.reports.send(Message::Input(Input::Deserted));
        }
    }
}

impl Arrivals {
    pub(crate) fn new(listener: UnixListener, callers: Callers) -> Self {
        Self { listener, pause: None, short: false, callers }
    }

    fn admit(arrived: io::Result<UnixStream>) -> io::Result<Socket> {
        let stream = arrived?;
        if is_reserved(stream.as_raw_fd().unsigned_abs().into(), fd_limit::limit()) {
            // Dropped, which its caller sees at once.
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Socket::new(stream)
    }
}

/// Descriptors are given out from below, so a high one says that few are left.
fn is_reserved(number: u64, limit: u64) -> bool {
    number.saturating_add(RESERVED) >= limit
}

impl Stream for Arrivals {
    type Item = io::Result<Metered>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let arrived = ready!(self.listener.poll_accept(cx)).map(|(stream, _)| stream);
            match Self::admit(arrived) {
                Ok(stream) => {
                    self.short = false;
                    let _present = Some(self.callers.one_more());
                    return Poll::Ready(Some(Ok(Metered { _present, ..Metered::new(stream) })));
                }
                // Tried again at once it would fail at once, for ever and at the expense of everything else.
                Err(error) => {
                    if !std::mem::replace(&mut self.short, true) {
                        let limit = fd_limit::limit();
                        log::error!("no more connections for now ({limit} descriptors allowed): {error}");
                    }
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

/// One connection.
pub(crate) struct Metered {
    /// The server reads header and body of a frame by themselves; here that is one read from the kernel.
    stream: BufReader<Socket>,
    incoming: Frames,
    outgoing: Frames,
    /// What each stream has open.
    open: BTreeMap<u32, u64>,
    /// The sum of that.
    owed: u64,
    /// The reader, while it has to wait.
    reader: Option<Waker>,
    /// Says that it ends.
    _present: Option<Present>,
}

impl Metered {
    fn new(stream: Socket) -> Self {
        let (incoming, outgoing) = (Frames::default(), Frames::default());
        let stream = BufReader::with_capacity(AT_ONCE, stream);
        Self { stream, incoming, outgoing, open: BTreeMap::new(), owed: 0, reader: None, _present: None }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, incoming, open, owed, reader, .. } = self.get_mut();
        if incoming.is_between() && *owed >= WINDOW {
            *reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        incoming.pass(&buf.filled()[before..], |header| {
            // Every one of these is answered, the wrong ones too.
            if matches!(header.type_, MESSAGE_TYPE_REQUEST | MESSAGE_TYPE_DATA) {
                let cost = EACH + u64::from(header.length).min(MESSAGE_LENGTH_MAX as u64);
                *open.entry(header.stream_id).or_default() += cost;
                *owed += cost;
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, outgoing, open, owed, reader, .. } = self.get_mut();
        let written = ready!(Pin::new(stream).poll_write(cx, buf))?;
        outgoing.pass(&buf[..written], |header| {
            if header.type_ == MESSAGE_TYPE_RESPONSE {
                *owed -= open.remove(&header.stream_id).unwrap_or_default();
            }
        });
        if *owed < WINDOW
            && let Some(reader) = reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Where in a stream of frames one direction stands.
#[derive(Default)]
struct Frames {
    header: [u8; MESSAGE_HEADER_LENGTH],
    /// How much of the header has passed.
    have: usize,
    /// How much of the body has not.
    body: usize,
}

impl Frames {
    /// No frame has begun.
    fn is_between(&self) -> bool {
        self.have == 0 && self.body == 0
    }

    /// These bytes pass; `begun` sees each header that is now complete.
    fn pass(&mut self, mut bytes: &[u8], mut begun: impl FnMut(MessageHeader)) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let rest = self.body.min(bytes.len());
                self.body -= rest;
                bytes = &bytes[rest..];
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(MESSAGE_HEADER_LENGTH - self.have));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = rest;
            if self.have == MESSAGE_HEADER_LENGTH {
                let header = MessageHeader::from(self.header);
                (self.have, self.body) = (0, header.length as usize);
                begun(header);
            }
        }
    }
}

#[cfg(test)]
mod tests;
