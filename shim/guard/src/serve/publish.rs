//! Events: the endpoint that the real shim publishes to, and the way on to containerd.
//!
//! The real shim panics when publishing fails (gVisor pkg/shim/v1/runsc/service.go, `forward`), so its events
//! are always acknowledged. They go on in order; while containerd is away, or takes none, they wait in a bounded
//! queue. An event is sent again only on a new connection, that is to another containerd.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runsc_guard_core::io::{Answer, RequestId};
use runsc_guard_proto::protobuf::{Message as _, MessageField};
use runsc_guard_proto::{Envelope, events_service::ForwardRequest, service};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::{Code, Request};

use super::arrivals;
use super::connection::{Asked, Reply, Service};
use super::encode;
use super::message::Message;

/// Events kept while containerd is away; the oldest go first.
const QUEUE: usize = 1024;
/// The pause after a failed attempt doubles from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What the real shim may ask: to publish.
struct Endpoint {
    reports: UnboundedSender<Message>,
}

impl Service for Endpoint {
    fn ask(&mut self, request: Request, _: Reply) -> Asked {
        if (request.service.as_str(), request.method.as_str()) != (service::EVENTS, "Forward") {
            let text = format!("guard: no {}/{} here", request.service, request.method);
            return Asked::Now(encode::failure(Code::UNIMPLEMENTED, text));
        }
        match ForwardRequest::parse_from_bytes(&request.payload) {
            Ok(forward) => {
                let envelope = forward.envelope.unwrap_or_default();
                let _ = self.reports.send(Message::Event(envelope));
            }
            Err(error) => log::warn!("an event of the real shim cannot be decoded and is lost: {error}"),
        }
        Asked::Now(encode::response(Answer::Done))
    }

    fn abandon(&mut self, _: RequestId) {}
}

/// Serves what the real shim publishes to, for as long as the runtime lives.
pub(crate) fn endpoint(listener: UnixListener, reports: UnboundedSender<Message>) {
    tokio::spawn(arrivals::serve(listener, move || Endpoint { reports: reports.clone() }));
}

/// The queue to containerd.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Queue>);

#[derive(Default)]
struct Queue {
    events: Mutex<Events>,
    /// Something was added.
    added: Notify,
    /// The last one was delivered.
    empty: Notify,
}

#[derive(Default)]
struct Events {
    /// In their order.
    waiting: VecDeque<Envelope>,
    /// The first one was sent on a connection that stands, and not acknowledged yet.
    under_way: bool,
    /// Lost because there were too many.
    dropped: u32,
}

/// What containerd has not taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    /// Events that wait.
    pub(crate) queued: u32,
    /// Events that were lost.
    pub(crate) dropped: u32,
}

impl Publisher {
    /// Starts publishing to containerd's ttrpc socket at `address`; without one, events go nowhere, as with the
    /// real shim.
    pub(crate) fn start(address: String) -> Self {
        let queue = Arc::new(Queue::default());
        tokio::spawn(deliver(queue.clone(), address));
        Self(queue)
    }

    /// Adds an event; never waits.
    pub(crate) fn publish(&self, event: Envelope) {
        let mut events = self.0.lock();
        if events.waiting.len() == QUEUE {
            log::warn!("containerd has not taken {QUEUE} events; the oldest is lost");
            let oldest = usize::from(events.under_way);
            events.waiting.remove(oldest);
            events.dropped = events.dropped.saturating_add(1);
        }
        events.waiting.push_back(event);
        self.0.added.notify_one();
    }

    /// What waits, and what was lost.
    pub(crate) fn backlog(&self) -> Backlog {
        let events = self.0.lock();
        Backlog { queued: u32::try_from(events.waiting.len()).unwrap_or(u32::MAX), dropped: events.dropped }
    }

    /// Waits until every event is delivered, at most for `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let delivered = async {
            while !self.0.lock().waiting.is_empty() {
                self.0.empty.notified().await;
            }
        };
        let _ = tokio::time::timeout(limit, delivered).await;
    }

    /// Takes what was not delivered. The event under way is not: it lies before a containerd that lives, which
    /// takes it when it can.
    pub(crate) fn rest(&self) -> Vec<Envelope> {
        let mut events = self.0.lock();
        let under_way = usize::from(events.under_way);
        events.waiting.drain(..).skip(under_way).collect()
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first event, which stays in the queue.
    async fn first(&self) -> Envelope {
        loop {
            let first = self.lock().waiting.front().cloned();
            match first {
                Some(event) => return event,
                None => {
                    self.empty.notify_waiters();
                    self.added.notified().await;
                }
            }
        }
    }
}

async fn deliver(queue: Arc<Queue>, address: String) {
    let mut pause = PAUSES.0;
    loop {
        queue.first().await;
        if address.is_empty() {
            queue.lock().waiting.clear();
            continue;
        }
        let error = match connect(&address).await {
            Ok(client) => {
                pause = PAUSES.0;
                deliver_to(&client, &queue).await
            }
            Err(error) => error.into(),
        };
        log::debug!("containerd takes no events, next try in {pause:?}: {error:#}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn connect(address: &str) -> std::io::Result<Client> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    Ok(Client::new(Socket::from(UnixStream::connect(path).await?)))
}

/// One event after the other, until the connection ends.
async fn deliver_to(client: &Client, queue: &Queue) -> anyhow::Error {
    loop {
        let event = queue.first().await;
        queue.lock().under_way = true;
        let forwarded = forward(client, event).await;
        let mut events = queue.lock();
        events.under_way = false;
        match forwarded {
            Ok(()) => drop(events.waiting.pop_front()),
            Err(error) => return error,
        }
    }
}

async fn forward(client: &Client, event: Envelope) -> anyhow::Result<()> {
    let mut content = ForwardRequest::new();
    content.envelope = MessageField::some(event);
    let mut request = Request::new();
    request.service = service::EVENTS.to_owned();
    request.method = "Forward".to_owned();
    // No timeout: one that passed would not tell whether containerd has the event, and sending it again could
    // publish it twice. A connection that ends does tell: that containerd is gone, with all who listened to it.
    request.payload = content.write_to_bytes()?;
    match client.request(request).await {
        Ok(_) => {}
        // containerd has seen it and will not take it, now or later.
        Err(ttrpc::Error::RpcStatus(refused)) => log::warn!("containerd refused an event: {refused:?}"),
        Err(lost) => return Err(lost.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: usize) -> Envelope {
        Envelope { topic: topic.to_string(), ..Envelope::default() }
    }

    #[tokio::test]
    async fn a_thousand_events_wait_for_a_containerd_that_is_away_and_then_the_oldest_go() {
        let publisher = Publisher::start("/nowhere/containerd.sock.ttrpc".to_owned());
        (0..1024).for_each(|number| publisher.publish(event(number)));
        let backlog = publisher.backlog();
        assert_eq!((backlog.queued, backlog.dropped), (1024, 0));
        publisher.publish(event(1024));
        let backlog = publisher.backlog();
        assert_eq!((backlog.queued, backlog.dropped), (1024, 1));
        let rest: Vec<String> = publisher.rest().into_iter().map(|event| event.topic).collect();
        assert_eq!(rest, (1..=1024).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
