//! What containerd, `start`, `delete` and `runsc-guard` ask: every method of both Task services and of the private one
//! becomes a message to the driver, and the driver's answer the response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runsc_guard_core::io::{Method as TaskMethod, Request as TaskRequest, RequestId};
use runsc_guard_proto::service;
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedSender;
use ttrpc::{Code, Request};

use super::arrivals::{self, Callers, Present};
use super::connection::{Asked, Reply, Service};
use super::message::Message;
use super::terms::Terms;
use super::{decode, encode};

/// The private service by its names on the wire.
const PRIVATE: [(&str, Asks); 5] = [
    ("Join", Asks::Guard(TaskMethod::Join)),
    ("End", Asks::Guard(TaskMethod::End)),
    ("Reap", Asks::Guard(TaskMethod::Reap)),
    ("Status", Asks::Memory(Message::Status)),
    ("Metrics", Asks::Memory(Message::Metrics)),
];

/// Who answers a method.
#[derive(Clone, Copy)]
enum Asks {
    /// The state machine.
    Guard(TaskMethod),
    /// The driver from memory: the state machine takes no notice.
    Memory(fn(Reply) -> Message),
}

/// What one caller may ask.
struct Inbound {
    reports: UnboundedSender<Message>,
    /// The number of the next request, of whichever caller.
    next: Arc<AtomicU64>,
    terms: Terms,
    _present: Present,
}

impl Inbound {
    fn number(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Service for Inbound {
    fn ask(&mut self, request: Request, reply: Reply) -> Asked {
        let asks = match route(&request.service, &request.method) {
            Ok(asks) => asks,
            Err(unknown) => return Asked::Now(encode::failure(Code::UNIMPLEMENTED, unknown)),
        };
        if let Asks::Guard(TaskMethod::Create) = asks
            && let Some((container, why)) = self.terms.refuse(&request.payload)
        {
            // What `delete` would ask, which CRI-O never runs: nobody comes any more for the place that is reserved.
            let (request, reply) = (Request::new(), Reply::to_nobody());
            let (id, op) = (self.number(), TaskRequest::End(container));
            let _ = self.reports.send(Message::Request { id, op, request, reply });
            return Asked::Now(encode::failure(Code::FAILED_PRECONDITION, why));
        }
        let id = self.number();
        let message = match asks {
            Asks::Memory(message) => message(reply),
            Asks::Guard(method) => match decode::request(method, &request.payload) {
                Ok(op) => Message::Request { id, op, request, reply },
                Err(error) => {
                    let text = format!("guard: {} cannot be decoded: {error}", request.method);
                    return Asked::Now(encode::failure(Code::INVALID_ARGUMENT, text));
                }
            },
        };
        let _ = self.reports.send(message);
        Asked::Later(id)
    }

    fn abandon(&mut self, request: RequestId) {
        let _ = self.reports.send(Message::Abandoned(request));
    }
}

/// Who answers, or what it is that nobody does. Both versions of the Task API are served: the messages are the same, and
/// which one containerd speaks depends on what `start` answered and on what a restarted containerd finds in the bundle.
fn route(service: &str, method: &str) -> Result<Asks, String> {
    let asks = match service {
        service::TASK_V2 | service::TASK_V3 => TaskMethod::of_task_api(method).map(Asks::Guard),
        service::GUARD => PRIVATE.iter().find(|(name, _)| *name == method).map(|(_, asks)| *asks),
        _ => return Err(format!("service {service}")),
    };
    asks.ok_or_else(|| format!("method {method}"))
}

/// Serves on `listener` for as long as the runtime lives.
pub(crate) fn serve(
    listener: UnixListener,
    reports: UnboundedSender<Message>,
    callers: Callers,
    terms: Terms,
) {
    let next = Arc::new(AtomicU64::new(0));
    let caller = move || Inbound {
        reports: reports.clone(),
        next: next.clone(),
        terms: terms.clone(),
        _present: callers.one_more(),
    };
    tokio::spawn(arrivals::serve(listener, caller));
}
