//! One caller: what it asks goes to a service, and the answers go back as they come.
//!
//! A server of our own and not the ttrpc crate's, which calls a service that it does not know an invalid argument (the
//! real shim's calls it unimplemented, and containerd tells by that what a shim can do), runs a task for each request,
//! writes each answer by itself, and reads on while its answers wait to be read, keeping every one of them. What is wrong
//! with a frame is told as Go's ttrpc tells it (server.go, services.go).
//!
//! A caller that has too much open is not read from until some of it has been answered *and taken*: its own socket then
//! holds it up. Not so with Wait, whose answer comes in days: a caller in Go that gives one up says nothing (ttrpc's
//! client.go), and a SIGKILL must get past all that were. Of those there is a number, past which one is refused.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use runsc_guard_core::io::{Method, RequestId};
use runsc_guard_proto::protobuf::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use ttrpc::proto::{MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE};
use ttrpc::{Code, Request, Response};

use super::encode;
use super::frames::{Frame, Frames};

/// What one caller may have unanswered, in bytes; the largest frame fits twice.
const WINDOW: u64 = 2 * MESSAGE_LENGTH_MAX as u64;
/// What of it may wait for an exit, in bytes: some eight thousand Waits.
const WAITS: u64 = 4 * WINDOW;
/// What a request costs besides its bytes: what is kept of it until its answer.
const EACH: u64 = 4096;

/// Who answers.
pub(super) trait Service: Send + 'static {
    /// Takes a request. The answer may come later.
    fn ask(&mut self, request: Request, reply: Reply) -> Asked;

    /// The caller of this request has gone without its answer.
    fn abandon(&mut self, request: RequestId);
}

/// What becomes of a request.
pub(super) enum Asked {
    /// It is answered by its [`Reply`], and has this number until then.
    Later(RequestId),
    /// This is the answer.
    Now(Response),
}

/// Where the answer to a request goes. Dropped, there is none: the end of the connection is the answer.
pub(crate) struct Reply {
    stream: u32,
    answers: UnboundedSender<(u32, Response)>,
}

impl Reply {
    /// Of a request that the guard makes to itself.
    pub(crate) fn to_nobody() -> Self {
        Self { stream: 0, answers: unbounded_channel().0 }
    }

    /// Answers; the caller may have gone this very moment.
    pub(crate) fn send(self, response: Response) {
        let _ = self.answers.send((self.stream, response));
    }
}

/// Serves one caller until it has gone.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, service: impl Service) {
    let mut connection = Connection::new(stream, service);
    if let Err(error) = poll_fn(|cx| connection.poll(cx)).await {
        log::debug!("a connection ended: {error}");
    }
}

struct Connection<S, T: Service> {
    frames: Frames<S>,
    service: T,
    reply: UnboundedSender<(u32, Response)>,
    answers: UnboundedReceiver<(u32, Response)>,
    /// The requests that wait for their answer, by their stream.
    open: BTreeMap<u32, Open>,
    last_stream: u32,
    /// What waits for its answer, in bytes, but for Waits.
    owed: u64,
    /// The Waits.
    waits: u64,
    /// The answers that the caller has not taken.
    untaken: u64,
}

/// A request that waits for its answer.
struct Open {
    request: RequestId,
    cost: u64,
    is_wait: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Service> Connection<S, T> {
    fn new(stream: S, service: T) -> Self {
        let (reply, answers) = unbounded_channel();
        let frames = Frames::new(stream);
        let open = BTreeMap::new();
        Self { frames, service, reply, answers, open, last_stream: 0, owed: 0, waits: 0, untaken: 0 }
    }

    /// Works until the caller has gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Poll::Ready(Some((stream, response))) = self.answers.poll_recv(cx) {
                let Some(open) = self.open.remove(&stream) else { continue };
                *self.account(open.is_wait) -= open.cost;
                self.answer(stream, &response, open.cost);
            }
            if self.frames.poll_flush(cx)?.is_ready() {
                self.untaken = 0;
            }
            if self.owed + self.untaken >= WINDOW {
                // An answer, or room for one, goes on with it.
                return Poll::Pending;
            }
            let Some(frame) = ready!(self.frames.poll_next(cx))? else { return Poll::Ready(Ok(())) };
            let cost = EACH + u64::from(frame.header.length).min(MESSAGE_LENGTH_MAX as u64);
            let stream = frame.header.stream_id;
            match request(&frame, self.last_stream) {
                Some(Ok(request)) => {
                    self.last_stream = stream;
                    self.ask(stream, request, cost);
                }
                Some(Err(wrong)) => self.answer(stream, &wrong, cost),
                None => {}
            }
        }
    }

    /// Has a request answered, now or later.
    fn ask(&mut self, stream: u32, request: Request, cost: u64) {
        let is_wait = request.method == Method::Wait.as_str();
        let asked = if is_wait && self.waits + cost > WAITS {
            let text = format!("guard: {} requests of this connection wait already", self.open.len());
            Asked::Now(encode::failure(Code::RESOURCE_EXHAUSTED, text))
        } else {
            self.service.ask(request, Reply { stream, answers: self.reply.clone() })
        };
        match asked {
            Asked::Later(request) => {
                *self.account(is_wait) += cost;
                self.open.insert(stream, Open { request, cost, is_wait });
            }
            Asked::Now(response) => self.answer(stream, &response, cost),
        }
    }

    /// Where a request counts until its answer.
    const fn account(&mut self, is_wait: bool) -> &mut u64 {
        if is_wait { &mut self.waits } else { &mut self.owed }
    }

    /// Has an answer sent, to a request that has cost so much.
    fn answer(&mut self, stream: u32, response: &Response, cost: u64) {
        self.untaken += cost;
        let length = response.compute_size();
        if length <= MESSAGE_LENGTH_MAX as u64 {
            return self.frames.queue(MESSAGE_TYPE_RESPONSE, stream, response);
        }
        let text = format!("guard: the answer has {length} bytes, at most {MESSAGE_LENGTH_MAX} can be sent");
        self.frames.queue(MESSAGE_TYPE_RESPONSE, stream, &encode::failure(Code::RESOURCE_EXHAUSTED, text));
    }
}

impl<S, T: Service> Drop for Connection<S, T> {
    fn drop(&mut self) {
        for open in self.open.values() {
            self.service.abandon(open.request);
        }
    }
}

/// The request in a frame, or what is wrong with it; `None` for what has no answer.
fn request(frame: &Frame<'_>, last_stream: u32) -> Option<Result<Request, Response>> {
    let (kind, stream) = (frame.header.type_, frame.header.stream_id);
    let wrong = |text: String| Some(Err(encode::failure(Code::INVALID_ARGUMENT, text)));
    let Some(body) = frame.body else {
        let length = frame.header.length;
        let text =
            format!("guard: a message of {length} bytes, at most {MESSAGE_LENGTH_MAX} can be received");
        return Some(Err(encode::failure(Code::RESOURCE_EXHAUSTED, text)));
    };
    if stream % 2 == 0 {
        return wrong(format!("guard: stream {stream}: a client's streams have odd numbers"));
    }
    match kind {
        MESSAGE_TYPE_REQUEST if stream <= last_stream => {
            wrong(format!("guard: stream {stream} after stream {last_stream}: numbers must grow"))
        }
        MESSAGE_TYPE_REQUEST => match Request::parse_from_bytes(body) {
            Ok(request) => Some(Ok(request)),
            Err(error) => wrong(format!("guard: a request cannot be decoded: {error}")),
        },
        MESSAGE_TYPE_DATA => wrong(format!("guard: stream {stream} takes no data")),
        // Of a later version of the protocol.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
