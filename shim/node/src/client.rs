//! One request to a guard from `start` or `delete`: connect, ask, read the answer, all by one deadline.
//!
//! ttrpc's own blocking client connects without a limit and starts two threads; a guard that is stopped
//! would hold `start` in connect(2) once its backlog is full. A frame is ten bytes of header and a message
//! (containerd/ttrpc, PROTOCOL.md), so it is written here.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use runsc_guard_proto::protobuf::Message;
use runsc_guard_proto::service;
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_RESPONSE, MessageHeader};
use ttrpc::{Request, Response};

/// The first stream that a ttrpc client may open: odd, and the only one here.
const STREAM: u32 = 1;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No socket there: no guard, or one that is closing.
    #[error("no socket at the guard's address")]
    Absent,
    /// A socket that nobody listens on: the guard is dead.
    #[error("nobody listens on the guard's socket")]
    Refused,
    /// Connected, but nothing came in time: the guard is stopped, starved or broken.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The connection ended before the answer: the guard died or is closing.
    #[error("the connection ended before the answer: {0}")]
    Broken(io::Error),
    /// An answer that is an error.
    #[error("answered with code {code}: {message}")]
    Status {
        /// gRPC status code.
        code: i32,
        /// Its message.
        message: String,
    },
    /// Not ttrpc, or not the message that was asked for.
    #[error("the answer is not a ttrpc response")]
    Malformed,
}

/// Asks the private service on `socket` for `method` and waits for the answer until `deadline`.
pub fn ask<Q: Message, A: Message>(
    socket: &Path,
    method: &str,
    question: &Q,
    deadline: Instant,
) -> Result<A, AskError> {
    ask_service(socket, service::GUARD, method, question, deadline)
}

/// The same of any service that is served there: a real shim has the task API.
pub fn ask_service<Q: Message, A: Message>(
    socket: &Path,
    service: &str,
    method: &str,
    question: &Q,
    deadline: Instant,
) -> Result<A, AskError> {
    let begun = Instant::now();
    let mut conversation = Conversation { begun, deadline, stream: open(socket, begun, deadline)? };
    let frame = frame(service, method, question, deadline.saturating_duration_since(begun))?;
    conversation.send(&frame)?;
    let response = conversation.receive()?;
    let status = response.status();
    // By number: `code()` takes one that it does not know for OK.
    if status.code.value() != ttrpc::Code::OK as i32 {
        let message = status.message().split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(AskError::Status { code: status.code.value(), message });
    }
    A::parse_from_bytes(&response.payload).map_err(|_| AskError::Malformed)
}

fn frame<Q: Message>(
    service: &str,
    method: &str,
    question: &Q,
    timeout: Duration,
) -> Result<Vec<u8>, AskError> {
    let request = Request {
        service: service.to_owned(),
        method: method.to_owned(),
        payload: question.write_to_bytes().map_err(|_| AskError::Malformed)?,
        timeout_nano: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        ..Request::default()
    };
    let body = request.write_to_bytes().map_err(|_| AskError::Malformed)?;
    let length = u32::try_from(body.len()).map_err(|_| AskError::Malformed)?;
    let mut frame = Vec::from(MessageHeader::new_request(STREAM, length));
    frame.extend(body);
    Ok(frame)
}

fn open(path: &Path, begun: Instant, deadline: Instant) -> Result<UnixStream, AskError> {
    connect(path, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => AskError::Absent,
        io::ErrorKind::ConnectionRefused => AskError::Refused,
        io::ErrorKind::TimedOut => AskError::Silent(begun.elapsed()),
        _ => AskError::Broken(error),
    })
}

/// A connection to a socket, or [`io::ErrorKind::TimedOut`] by the deadline. connect(2) blocks while the backlog of
/// whoever listens is full; the kernel bounds that wait by the send timeout.
pub fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let left = left(deadline).ok_or(io::ErrorKind::TimedOut)?;
    let timeout =
        TimeVal::new(i64::try_from(left.as_secs()).unwrap_or(i64::MAX), i64::from(left.subsec_micros()));
    setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
    match socket::connect(fd.as_raw_fd(), &address) {
        Ok(()) => Ok(fd.into()),
        Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EINTR) => Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// What is left until `deadline`: never zero, which means "no limit" to a socket.
fn left(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (left >= Duration::from_millis(1)).then_some(left)
}

struct Conversation {
    begun: Instant,
    deadline: Instant,
    stream: UnixStream,
}

impl Conversation {
    fn send(&mut self, frame: &[u8]) -> Result<(), AskError> {
        let sent = self.stream.set_write_timeout(Some(self.left()?));
        sent.and_then(|()| self.stream.write_all(frame)).map_err(|error| self.judge(error))
    }

    fn receive(&mut self) -> Result<Response, AskError> {
        let mut header = [0; MESSAGE_HEADER_LENGTH];
        self.fill(&mut header)?;
        let header = MessageHeader::from(header);
        let length = header.length as usize;
        if header.type_ != MESSAGE_TYPE_RESPONSE || header.stream_id != STREAM || length > MESSAGE_LENGTH_MAX
        {
            return Err(AskError::Malformed);
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Response::parse_from_bytes(&body).map_err(|_| AskError::Malformed)
    }

    /// Like `read_exact`, but the limit holds for all of it and not for each piece.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), AskError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let limit = self.left()?;
            let read = self.stream.set_read_timeout(Some(limit));
            match read.and_then(|()| self.stream.read(rest)) {
                Ok(0) => return Err(AskError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.judge(error)),
            }
        }
        Ok(())
    }

    fn left(&self) -> Result<Duration, AskError> {
        left(self.deadline).ok_or_else(|| AskError::Silent(self.begun.elapsed()))
    }

    fn judge(&self, error: io::Error) -> AskError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent(self.begun.elapsed()),
            _ => AskError::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests;
