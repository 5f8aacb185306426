//! What containerd, `start`, `delete` and `runsc-guard` ask: every method of both Task services and of the private one
//! becomes a message to the driver, and the driver's answer the response.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use runsc_guard_core::io::{Request as TaskRequest, RequestId};
use runsc_guard_proto::protobuf::{self, Message as _};
use runsc_guard_proto::{guard, service};
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{MethodHandler, Server, Service, TtrpcContext};
use ttrpc::{Code, Request, Response};

use super::arrivals::{Arrivals, Callers};
use super::{Message, decode, encode};

/// Methods of the private service.
pub(super) const PRIVATE: [&str; 5] = ["Join", "End", "Reap", STATUS, METRICS];
// Answered by the driver from memory: the state machine takes no notice.
const STATUS: &str = "Status";
const METRICS: &str = "Metrics";

/// One method of one service.
struct Method {
    reports: UnboundedSender<Message>,
    next: Arc<AtomicU64>,
    private: bool,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let (answer, answered) = oneshot::channel();
        let from_memory = match request.method.as_str() {
            STATUS if self.private => Some(Message::Status as fn(_) -> _),
            METRICS if self.private => Some(Message::Metrics as fn(_) -> _),
            _ => None,
        };
        if let Some(message) = from_memory {
            let _ = self.reports.send(message(answer));
            return match answered.await {
                Ok(response) => Ok(response),
                Err(_) => std::future::pending().await,
            };
        }
        let op =
            if self.private { private_op(&request) } else { decode::op(&request.method, &request.payload) };
        let op = match op {
            Ok(op) => op,
            Err(error) => {
                let text = format!("guard: {} cannot be decoded: {error}", request.method);
                return Ok(encode::failure(Code::INVALID_ARGUMENT, text));
            }
        };
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let _ = self.reports.send(Message::Request { id, op, request, answer });
        // When the caller's time or connection ends, ttrpc drops this future.
        let mut caller = Caller { id, reports: Some(&self.reports) };
        let Ok(response) = answered.await else {
            // The guard has said its last word and is about to end. The end of the connection is the answer:
            // containerd takes it for what it is, where an error would make it start over.
            return std::future::pending().await;
        };
        caller.reports = None;
        Ok(response)
    }
}

/// Tells the driver when a caller goes away without its answer.
struct Caller<'a> {
    id: RequestId,
    reports: Option<&'a UnboundedSender<Message>>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(reports) = self.reports {
            let _ = reports.send(Message::Abandoned(self.id));
        }
    }
}

pub(super) fn private_op(request: &Request) -> protobuf::Result<TaskRequest> {
    Ok(match request.method.as_str() {
        "Join" => TaskRequest::Join(guard::JoinRequest::parse_from_bytes(&request.payload)?.id),
        "Reap" => TaskRequest::Reap,
        // `End`, the last of the registered ones.
        _ => TaskRequest::End(guard::EndRequest::parse_from_bytes(&request.payload)?.id),
    })
}

/// Serves on `listener` until the server is dropped.
pub(crate) async fn serve(
    listener: UnixListener,
    reports: UnboundedSender<Message>,
    callers: Callers,
) -> ttrpc::Result<Server> {
    let next = Arc::new(AtomicU64::new(0));
    let methods = |names: &[&str], private: bool| {
        let one = |name: &&str| {
            let method = Method { reports: reports.clone(), next: next.clone(), private };
            let method: Box<dyn MethodHandler + Send + Sync> = Box::new(method);
            ((*name).to_owned(), method)
        };
        Service { methods: names.iter().map(one).collect(), streams: HashMap::new() }
    };
    // Both versions of the Task API: the messages are the same, and which one containerd speaks depends on
    // what `start` answered and on what a restarted containerd finds in the bundle.
    let services = HashMap::from([
        (service::TASK_V2.to_owned(), methods(&decode::METHODS, false)),
        (service::TASK_V3.to_owned(), methods(&decode::METHODS, false)),
        (service::GUARD.to_owned(), methods(&PRIVATE, true)),
        // Of all services that gVisor's shim does not serve this is the one that containerd knows of a shim, and asks for
        // what it may do. ttrpc calls a service that it does not know an invalid argument; a method, not implemented.
        (service::SANDBOX.to_owned(), methods(&[], false)),
    ]);
    let mut server = Server::new()
        .add_listener(Listener::new(Arrivals::new(listener, callers)))
        .register_service(services);
    server.start().await?;
    Ok(server)
}
