//! A client that measures well: frames made beforehand, a blocking socket, no runtime, and the clock read right beside
//! the system calls.

use anyhow::{Context as _, Result, bail, ensure};
use protobuf::Message as _;
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// How long any answer may take before the machine is the finding.
const LIMIT: Duration = Duration::from_secs(30);
const HEADER: usize = 10;

/// One connection.
pub(crate) struct Asker {
    stream: UnixStream,
    next: u32,
    /// What was read and not yet taken.
    pending: Vec<u8>,
    buffer: Box<[u8]>,
}

/// An answer: its stream and the message with its status.
pub(crate) struct Reply {
    pub(crate) stream: u32,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// What was asked for, or the error that came instead.
    pub(crate) fn payload(&self) -> Result<Vec<u8>> {
        let answer = ttrpc::Response::parse_from_bytes(&self.body)?;
        let status = answer.status.unwrap_or_default();
        ensure!(status.code.value() == 0, "{}", status.message);
        Ok(answer.payload)
    }

    /// As cheap as can be: a status, if there is one, is the first field, and one that is not empty tells of an error.
    fn check(&self) -> Result<()> {
        match self.body[..] {
            [0x0a, length, ..] if length > 0 => self.payload().map(drop),
            _ => Ok(()),
        }
    }
}

impl Asker {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, next: 1, pending: Vec::new(), buffer: vec![0; 64 << 10].into() })
    }

    /// Sends `frame` on a stream of its own; returns the stream and when.
    pub(crate) fn send(&mut self, frame: &mut [u8]) -> Result<(u32, Instant)> {
        let stream = self.next;
        self.next += 2;
        frame[4..8].copy_from_slice(&stream.to_be_bytes());
        let sent = Instant::now();
        self.stream.write_all(frame)?;
        Ok((stream, sent))
    }

    /// The next answer, of whatever stream, and when its last byte came.
    pub(crate) fn receive(&mut self) -> Result<(Reply, Instant)> {
        let mut came = Instant::now();
        loop {
            if let Some(reply) = self.take()? {
                return Ok((reply, came));
            }
            let count = self.stream.read(&mut self.buffer).context("no answer")?;
            came = Instant::now();
            ensure!(count > 0, "the connection was closed");
            self.pending.extend_from_slice(&self.buffer[..count]);
        }
    }

    fn take(&mut self) -> Result<Option<Reply>> {
        let Some(header) = self.pending.first_chunk::<HEADER>() else { return Ok(None) };
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let (length, stream, kind) = (number(0) as usize, number(4), header[8]);
        ensure!(kind == 2, "a frame of type {kind}");
        if self.pending.len() < HEADER + length {
            return Ok(None);
        }
        let body = self.pending[HEADER..HEADER + length].to_vec();
        self.pending.drain(..HEADER + length);
        Ok(Some(Reply { stream, body }))
    }

    /// Asks once; the seconds until the answer.
    pub(crate) fn ask(&mut self, frame: &mut [u8]) -> Result<f64> {
        let (stream, sent) = self.send(frame)?;
        let (reply, came) = self.receive()?;
        reply.check()?;
        ensure!(reply.stream == stream, "stream {} answers {stream}", reply.stream);
        Ok((came - sent).as_secs_f64())
    }

    /// Asks `count` times with `in_flight` unanswered at any time; the seconds of each.
    pub(crate) fn ask_many(&mut self, frame: &mut [u8], count: usize, in_flight: usize) -> Result<Vec<f64>> {
        let first = self.next;
        let mut sent = Vec::with_capacity(count);
        let mut seconds = Vec::with_capacity(count);
        while seconds.len() < count {
            while sent.len() < count && sent.len() - seconds.len() < in_flight {
                sent.push(self.send(frame)?.1);
            }
            let (reply, came) = self.receive()?;
            reply.check()?;
            let number = (reply.stream.wrapping_sub(first) / 2) as usize;
            match sent.get(number) {
                Some(sent) => seconds.push((came - *sent).as_secs_f64()),
                None => bail!("an answer on stream {}", reply.stream),
            }
        }
        Ok(seconds)
    }
}
