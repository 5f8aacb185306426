//! The wire: what containerd, `start` and `delete` send to the guard, and what the real shim sends.

use std::task::{Context, Poll, Waker};

use runsc_guard_core::io::{Answer, Event, Method, Outcome, ResponseInfo};
use runsc_guard_proto::protobuf::{Message as _, MessageField};
use runsc_guard_proto::{Envelope, events_service::ForwardRequest, protobuf::well_known_types::any::Any};
use tokio::sync::mpsc::unbounded_channel;
use ttrpc::{Code, Request, Response};

use super::frames::{Frame, Frames};
use super::message::{ConnectionId, Message};
use super::upstream;
use super::{decode, encode};
use crate::fuzzing::with_unknown_field;

/// Every topic that the guard looks into, and one that it does not.
const TOPICS: [&str; 6] =
    ["/tasks/exit", "/tasks/start", "/tasks/exec-started", "/tasks/paused", "/tasks/resumed", "/tasks/oom"];

/// Requests, each input once as the frames of a connection and once as the payload of every method. A field that
/// a newer containerd adds changes nothing of what the guard makes of a request.
pub fn requests(data: &[u8]) {
    for method in Method::TASK_API.into_iter().chain([Method::Join, Method::End, Method::Reap]) {
        request(method, data);
    }
    let mut frames = Frames::new(data);
    while let Poll::Ready(Ok(Some(Frame { header, body }))) = frames.poll_next(&mut context()) {
        let Some(body) = body else { continue };
        assert_eq!(body.len(), header.length as usize);
        if let Ok(read) = Request::parse_from_bytes(body) {
            assert!(decode::caller_timeout(read.timeout_nano).is_none_or(|time| !time.is_zero()));
            if let Some(method) = Method::of_task_api(&read.method) {
                request(method, &read.payload);
            }
        }
    }
}

fn request(method: Method, payload: &[u8]) {
    if let Ok(read) = decode::request(method, payload) {
        assert_eq!(read.method(), method);
        assert_eq!(decode::request(method, &with_unknown_field(payload)).ok(), Some(read), "{method}");
    }
}

/// Answers and events of the real shim, each input once as the frames of a connection and once as the payload of
/// each. An exit that the guard tells on is the exit that it was told.
pub fn replies(data: &[u8]) {
    answer(&Response { payload: data.to_vec(), ..Response::default() });
    for topic in TOPICS {
        let value = Any { value: data.to_vec(), ..Any::default() };
        let topic = topic.to_owned();
        event(&Envelope { topic, event: MessageField::some(value), ..Envelope::default() });
    }
    if let Ok(forward) = ForwardRequest::parse_from_bytes(data) {
        event(&forward.envelope.unwrap_or_default());
    }
    let (reports, mut read) = unbounded_channel();
    // Ends with the input, or before.
    let mut frames = Frames::new(data);
    let ended = upstream::poll_answers(ConnectionId(0), &mut frames, &mut context(), &reports);
    assert!(ended.is_ready(), "waits for what is all there");
    while let Ok(message) = read.try_recv() {
        if let Message::Received { response, .. } = message {
            answer(&response);
        }
    }
}

fn answer(response: &Response) {
    let failed = response.status().code.value() != Code::OK as i32;
    for method in Method::TASK_API {
        let outcome = decode::outcome(method, response);
        assert_eq!(matches!(outcome, Outcome::Failed { .. }), failed, "{method}");
        let again = match (&outcome, method) {
            (Outcome::Done(ResponseInfo::Exit(exit)), Method::Wait) => Answer::Waited(*exit),
            (Outcome::Done(ResponseInfo::Exit(exit)), Method::Delete) => Answer::Deleted(*exit),
            _ => continue,
        };
        assert_eq!(decode::outcome(method, &encode::response(again)), outcome, "{method}");
    }
}

fn event(envelope: &Envelope) {
    if let Event::Exit(process, exit) = decode::event(envelope) {
        let again = encode::exit_event("ns", &process, exit);
        assert_eq!(decode::event(&again), Event::Exit(process, exit));
    }
}

/// Reading from memory never has to wait.
const fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
