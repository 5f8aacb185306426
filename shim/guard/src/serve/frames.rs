//! One end of a ttrpc connection: frames as they come in, and frames to send, as many at once as there are.
//!
//! Each side of the guard has many requests on few connections. What has come is read by one call, however many frames
//! it is, and what is to go is written by one: a system call, and a peer that is woken, cost more than all the rest of a
//! request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use runsc_guard_proto::protobuf::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MessageHeader};

/// What is read at once: a request of containerd's, with its header, and a few more where they come in a crowd.
const AT_ONCE: usize = 1024;
/// Of a large frame.
const MOST_AT_ONCE: usize = 64 << 10;
/// A buffer that a large frame, or a crowd, has made larger than this is given back when it is empty.
const KEPT: usize = 8 << 10;

/// A frame that has come.
#[derive(Debug, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) header: MessageHeader,
    /// `None` if it is longer than any may be; what comes of it is thrown away.
    pub(super) body: Option<&'a [u8]>,
}

/// One end of a connection.
pub(super) struct Frames<S> {
    stream: S,
    /// What has come; it was given out until `given`.
    incoming: Vec<u8>,
    given: usize,
    /// So much is to come that is thrown away.
    unwanted: usize,
    /// What is to go; it has gone until `gone`.
    outgoing: Vec<u8>,
    gone: usize,
}

impl<S> Frames<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, incoming: Vec::new(), given: 0, unwanted: 0, outgoing: Vec::new(), gone: 0 }
    }

    /// Adds a frame to what is to go with the next [`Frames::poll_flush`].
    pub(super) fn queue(&mut self, kind: u8, stream: u32, message: &impl Message) {
        let length = message.compute_size();
        let header = u32::try_from(length).unwrap_or(u32::MAX);
        self.outgoing.extend_from_slice(&header.to_be_bytes());
        self.outgoing.extend_from_slice(&stream.to_be_bytes());
        self.outgoing.extend_from_slice(&[kind, 0]);
        // Writing to memory fails only where a required field is missing, which proto3 does not have.
        let _ = message.write_to_vec(&mut self.outgoing);
    }

    /// The next frame's header, and how long all of it is.
    fn next_header(&self) -> Option<(MessageHeader, usize)> {
        let bytes = *self.incoming.get(self.given..)?.first_chunk::<MESSAGE_HEADER_LENGTH>()?;
        let header = MessageHeader::from(bytes);
        Some((header, MESSAGE_HEADER_LENGTH + header.length as usize))
    }

    /// Throws away what nobody wants, and makes room for so many more bytes.
    fn make_room(&mut self, room: usize) {
        self.incoming.drain(..self.given);
        self.given = 0;
        if self.incoming.is_empty() && self.incoming.capacity() > KEPT {
            self.incoming = Vec::new();
        }
        self.incoming.reserve(room);
    }
}

impl<S: AsyncRead + Unpin> Frames<S> {
    /// The next frame; `None` when the peer has closed its end, in the middle of a frame or not.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Frame<'_>>>> {
        loop {
            let unwanted = self.unwanted.min(self.incoming.len() - self.given);
            self.unwanted -= unwanted;
            self.given += unwanted;
            let have = self.incoming.len() - self.given;
            let missing = match self.next_header() {
                Some((header, all)) if all - MESSAGE_HEADER_LENGTH > MESSAGE_LENGTH_MAX => {
                    self.given += MESSAGE_HEADER_LENGTH;
                    self.unwanted = all - MESSAGE_HEADER_LENGTH;
                    return Poll::Ready(Ok(Some(Frame { header, body: None })));
                }
                Some((header, all)) if have >= all => {
                    let start = self.given + MESSAGE_HEADER_LENGTH;
                    self.given += all;
                    let body = self.incoming.get(start..self.given);
                    return Poll::Ready(Ok(Some(Frame { header, body })));
                }
                Some((_, all)) => all - have,
                None => self.unwanted,
            };
            if ready!(self.poll_read(cx, missing.clamp(AT_ONCE, MOST_AT_ONCE)))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.make_room(room);
        let before = self.incoming.len();
        self.incoming.resize(before + room, 0);
        let mut buffer = ReadBuf::new(&mut self.incoming[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        self.incoming.truncate(before + read);
        polled.map_ok(|()| read)
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.gone..).filter(|rest| !rest.is_empty()) {
            self.gone += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        self.gone = 0;
        self.outgoing.clear();
        if self.outgoing.capacity() > KEPT {
            self.outgoing = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
