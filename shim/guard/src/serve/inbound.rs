//! What containerd, `start`, `delete` and `runsc-guard` ask: every method of both Task services and of the private one
//! becomes a message to the driver, and the driver's answer the response.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use runsc_guard_core::io::{Method as TaskMethod, RequestId};
use runsc_guard_proto::service;
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{MethodHandler, Server, Service, TtrpcContext};
use ttrpc::{Code, Request, Response};

use super::arrivals::{Arrivals, Callers};
use super::message::Message;
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
    Memory(fn(oneshot::Sender<Response>) -> Message),
}

/// One method of one service.
struct Method {
    reports: UnboundedSender<Message>,
    next: Arc<AtomicU64>,
    asks: Asks,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let (answer, answered) = oneshot::channel();
        let method = match self.asks {
            Asks::Guard(method) => method,
            Asks::Memory(message) => {
                let _ = self.reports.send(message(answer));
                return match answered.await {
                    Ok(response) => Ok(response),
                    Err(_) => std::future::pending().await,
                };
            }
        };
        let op = match decode::request(method, &request.payload) {
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

/// Serves on `listener` until the server is dropped.
pub(crate) async fn serve(
    listener: UnixListener,
    reports: UnboundedSender<Message>,
    callers: Callers,
) -> ttrpc::Result<Server> {
    let next = Arc::new(AtomicU64::new(0));
    let service = |methods: &[(&str, Asks)]| {
        let one = |(name, asks): &(&str, Asks)| {
            let method = Method { reports: reports.clone(), next: next.clone(), asks: *asks };
            let method: Box<dyn MethodHandler + Send + Sync> = Box::new(method);
            ((*name).to_owned(), method)
        };
        Service { methods: methods.iter().map(one).collect(), streams: HashMap::new() }
    };
    let task = TaskMethod::TASK_API.map(|method| (method.as_str(), Asks::Guard(method)));
    // Both versions of the Task API: the messages are the same, and which one containerd speaks depends on
    // what `start` answered and on what a restarted containerd finds in the bundle.
    let services = HashMap::from([
        (service::TASK_V2.to_owned(), service(&task)),
        (service::TASK_V3.to_owned(), service(&task)),
        (service::GUARD.to_owned(), service(&PRIVATE)),
        // Of all services that gVisor's shim does not serve this is the one that containerd knows of a shim, and asks for
        // what it may do. ttrpc calls a service that it does not know an invalid argument; a method, not implemented.
        (service::SANDBOX.to_owned(), service(&[])),
    ]);
    let mut server = Server::new()
        .add_listener(Listener::new(Arrivals::new(listener, callers)))
        .register_service(services);
    server.start().await?;
    Ok(server)
}
