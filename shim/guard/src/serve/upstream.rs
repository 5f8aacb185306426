//! The connections to the real shim, and its answers.
//!
//! A client of our own and not the ttrpc crate's, for two things the guard is built on and that one cannot
//! express. The timeout that goes with a request and the time we listen for its answer are different: the
//! real shim must give up a hung runsc, and the guard must know whether it *has* (a request that waits for a
//! Go mutex has not, and asking again would pile up goroutines). And a deadline must never close a
//! connection that other requests share.
//!
//! Which real shim a request goes to is `shim_pool`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{CallId, ConnectionKind, Method, OwnCall};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use ttrpc::{Code, Request, Response};

use super::message::{Answered, ConnectionId, Message};
use super::shim_pool::{self, Loss, Next, Route, ShimId, ShimPool};
use super::{decode, encode, real_shim};
use runsc_guard_node::params::ServeParams;
use runsc_guard_sandbox::sys::identity::Identity;

mod connection;

#[cfg(any(test, feature = "testing"))]
pub(super) use connection::poll_answers;

/// How long a real shim may take to say what it holds: for that it need not run anything.
const TELLS: Duration = Duration::from_secs(1);

/// One connection with the calls that wait on it.
struct Connection {
    shim: ShimId,
    kind: ConnectionKind,
    requests: UnboundedSender<(u32, Request)>,
    calls: BTreeMap<u32, Sent>,
    next_stream: u32,
    task: JoinHandle<()>,
}

/// A request that has been sent.
struct Sent {
    why: Why,
    method: Method,
    /// What was sent, where `pool` minds the answer.
    payload: Option<Vec<u8>>,
}

/// Why something was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The state machine wants it.
    Call(CallId),
    /// To learn what the real shim holds.
    Question,
    /// The real shim is to go.
    Dismissal,
}

/// A call that waits until it is known where it goes.
struct Parked {
    call: CallId,
    method: Method,
    request: Request,
    kind: ConnectionKind,
    until: Instant,
}

/// The real shims, and all connections to them, which are opened when first used.
pub(crate) struct Upstream {
    params: Arc<ServeParams>,
    reports: UnboundedSender<Message>,
    pool: ShimPool,
    shims: BTreeMap<ShimId, Identity>,
    parked: Vec<Parked>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: u64,
}

impl Upstream {
    pub(crate) fn new(params: Arc<ServeParams>, first: Identity, reports: UnboundedSender<Message>) -> Self {
        Self {
            params,
            reports,
            pool: ShimPool::new(),
            shims: BTreeMap::from([(ShimId::FIRST, first)]),
            parked: Vec::new(),
            connections: BTreeMap::new(),
            next: 0,
        }
    }

    /// The real shims that live.
    pub(crate) fn shims(&self) -> impl Iterator<Item = Identity> {
        self.shims.values().copied()
    }

    /// Sends a request; its answer comes back as [`Message::Received`], [`Message::Answered`] or
    /// [`Message::Disconnected`].
    pub(crate) fn send(&mut self, call: CallId, method: Method, request: Request, kind: ConnectionKind) {
        match self.pool.route(method, &request.payload) {
            Route::To(shim) => self.transmit(shim, Why::Call(call), method, request, kind),
            Route::New(shim) => match real_shim::spawn(&self.params, shim) {
                Ok(identity) => {
                    self.shims.insert(shim, identity);
                    self.transmit(shim, Why::Call(call), method, request, kind);
                }
                Err(error) => {
                    self.pool.lost(shim);
                    self.refuse(call, method, Code::UNKNOWN, format!("guard: {error:#}"));
                }
            },
            Route::All(shims) => {
                for (number, shim) in shims.into_iter().enumerate() {
                    let why = if number == 0 { Why::Call(call) } else { Why::Dismissal };
                    self.transmit(shim, why, method, request.clone(), kind);
                }
            }
            Route::Later => {
                let patience = decode::caller_timeout(request.timeout_nano).unwrap_or(TELLS);
                self.parked.push(Parked { call, method, request, kind, until: Instant::now() + patience });
            }
            // In the words of one that looks ids up (pkg/shim/v1/runsc/service.go, getContainer).
            Route::Unknown => {
                self.refuse(call, method, Code::NOT_FOUND, "container not created".to_owned());
            }
        }
    }

    /// Answers in the real shim's place.
    fn refuse(&self, call: CallId, method: Method, code: Code, text: String) {
        let response = encode::failure(code, text);
        let _ = self.reports.send(Message::Answered(Answered { call, method, response }));
    }

    fn transmit(&mut self, shim: ShimId, why: Why, method: Method, request: Request, kind: ConnectionKind) {
        let same = |connection: &Connection| connection.shim == shim && connection.kind == kind;
        let shared = self
            .connections
            .iter()
            .find(|(_, connection)| kind != ConnectionKind::Own && same(connection))
            .map(|(id, _)| *id);
        let id = shared.unwrap_or_else(|| self.open(shim, kind));
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let stream = connection.next_stream;
        connection.next_stream = stream.wrapping_add(2);
        let payload = self.pool.minds(method).then(|| request.payload.clone());
        connection.calls.insert(stream, Sent { why, method, payload });
        // A closed channel means a lost connection, whose report is on its way.
        let _ = connection.requests.send((stream, request));
    }

    fn open(&mut self, shim: ShimId, kind: ConnectionKind) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let (requests, outgoing) = unbounded_channel();
        let socket = shim.socket(&self.params.place);
        let task = tokio::spawn(connection::run(id, socket, outgoing, self.reports.clone()));
        let connection = Connection { shim, kind, requests, calls: BTreeMap::new(), next_stream: 1, task };
        self.connections.insert(id, connection);
        id
    }

    /// Which call an answer belongs to; `None` for one that was given up, or that was not a call's.
    pub(crate) fn received(&mut self, id: ConnectionId, stream: u32, response: Response) -> Option<Answered> {
        let connection = self.connections.get_mut(&id)?;
        let sent = connection.calls.remove(&stream)?;
        let shim = connection.shim;
        if connection.kind == ConnectionKind::Own {
            self.close(id);
        }
        match sent.why {
            Why::Dismissal => None,
            Why::Question => {
                let next = self.pool.told(&response);
                self.follow(next);
                None
            }
            Why::Call(call) => {
                if let Some(payload) = sent.payload {
                    let done = decode::is_success(&response);
                    let next = self.pool.answered(shim, sent.method, &payload, done);
                    self.follow(next);
                }
                Some(Answered { call, method: sent.method, response })
            }
        }
    }

    fn follow(&mut self, next: Next) {
        let (shim, why, (method, mut request)) = match next {
            Next::Nothing => return,
            Next::Unpark => return self.unpark(),
            Next::Ask(shim) => (shim, Why::Question, (Method::State, shim_pool::question())),
            Next::Dismiss(shim) => {
                (shim, Why::Dismissal, encode::own_request(&OwnCall::Shutdown, &self.params.sandbox))
            }
        };
        request.timeout_nano = encode::timeout_nano(TELLS);
        self.transmit(shim, why, method, request, ConnectionKind::Own);
    }

    fn unpark(&mut self) {
        let now = Instant::now();
        for Parked { call, method, request, kind, until } in std::mem::take(&mut self.parked) {
            if now < until {
                self.send(call, method, request, kind);
            } else {
                let text = "the real shim took too long to say what it holds".to_owned();
                self.refuse(call, method, Code::DEADLINE_EXCEEDED, text);
            }
        }
    }

    /// The calls that a lost connection takes with it.
    pub(crate) fn disconnected(&mut self, id: ConnectionId) -> Vec<CallId> {
        let Some(lost) = self.connections.remove(&id) else { return Vec::new() };
        lost.calls.values().for_each(|sent| self.unanswered(sent));
        let call = |sent: Sent| match sent.why {
            Why::Call(call) => Some(call),
            Why::Question | Why::Dismissal => None,
        };
        lost.calls.into_values().filter_map(call).collect()
    }

    fn unanswered(&mut self, sent: &Sent) {
        if sent.why == Why::Question || sent.payload.is_some() {
            let next = self.pool.unanswered(sent.method);
            self.follow(next);
        }
    }

    /// Whether a child that has ended was a real shim, and what that means.
    pub(crate) fn child_ended(&mut self, pid: i32) -> Option<Loss> {
        let shim = *self.shims.iter().find(|(_, identity)| identity.pid == pid)?.0;
        self.shims.remove(&shim);
        Some(self.pool.lost(shim))
    }

    /// Gives a call up. Where it has a connection of its own, closing that ends the real shim's work on it.
    pub(crate) fn cancel(&mut self, call: CallId) {
        self.parked.retain(|parked| parked.call != call);
        let holder = self.connections.iter_mut().find_map(|(id, connection)| {
            let stream = *connection.calls.iter().find(|(_, sent)| sent.why == Why::Call(call))?.0;
            Some((*id, connection.kind, connection.calls.remove(&stream)?))
        });
        let Some((id, kind, sent)) = holder else { return };
        if kind == ConnectionKind::Own {
            self.close(id);
        }
        self.unanswered(&sent);
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            connection.task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
