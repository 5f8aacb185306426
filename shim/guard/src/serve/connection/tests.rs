use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MessageHeader};

use super::*;

/// What is to come comes by then.
const SOON: Duration = Duration::from_secs(20);
/// What has not come by then is held up.
const MOMENT: Duration = Duration::from_millis(50);

/// Passes each request on to the test, which answers; a method "now" is answered at once.
struct Passes {
    asked: UnboundedSender<(RequestId, Option<Reply>)>,
    next: u64,
}

impl Service for Passes {
    fn ask(&mut self, request: Request, reply: Reply) -> Asked {
        if request.method == "now" {
            return Asked::Now(Response { payload: request.payload, ..Response::default() });
        }
        self.next += 1;
        let _ = self.asked.send((RequestId(self.next), Some(reply)));
        Asked::Later(RequestId(self.next))
    }

    fn abandon(&mut self, request: RequestId) {
        let _ = self.asked.send((request, None));
    }
}

struct Caller {
    answers: OwnedReadHalf,
    requests: OwnedWriteHalf,
    asked: UnboundedReceiver<(RequestId, Option<Reply>)>,
}

impl Caller {
    fn connect() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (passes, asked) = unbounded_channel();
        tokio::spawn(serve(ours, Passes { asked: passes, next: 0 }));
        let (answers, requests) = theirs.into_split();
        Self { answers, requests, asked }
    }

    async fn ask(&mut self, stream: u32, method: &str) {
        let request = Request { method: method.into(), ..Request::default() };
        self.send(MESSAGE_TYPE_REQUEST, stream, &request.write_to_bytes().unwrap()).await;
    }

    async fn send(&mut self, kind: u8, stream: u32, body: &[u8]) {
        self.requests.write_all(&frame(kind, stream, body)).await.unwrap();
    }

    /// Where the answer to the next request that comes through goes.
    async fn reply(&mut self) -> Option<Reply> {
        timeout(SOON, self.asked.recv()).await.ok().flatten().and_then(|(_, reply)| reply)
    }

    /// The next answer.
    async fn answer(&mut self) -> (u32, Response) {
        let mut header = [0; MESSAGE_HEADER_LENGTH];
        self.answers.read_exact(&mut header).await.unwrap();
        let header = MessageHeader::from(header);
        let mut body = vec![0; header.length as usize];
        self.answers.read_exact(&mut body).await.unwrap();
        assert_eq!(header.type_, MESSAGE_TYPE_RESPONSE);
        (header.stream_id, Response::parse_from_bytes(&body).unwrap())
    }
}

fn frame(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let header = MessageHeader { length: body.len() as u32, stream_id: stream, type_: kind, flags: 0 };
    [Vec::from(header), body.to_vec()].concat()
}

#[tokio::test]
async fn answers_go_to_their_streams_in_whatever_order() {
    let mut caller = Caller::connect();
    for stream in [1, 3, 5] {
        caller.ask(stream, "later").await;
    }
    caller.ask(7, "now").await;
    assert_eq!(caller.answer().await.0, 7);
    let mut replies = Vec::new();
    for _ in 0..3 {
        replies.push(caller.reply().await.unwrap());
    }
    for (reply, text) in replies.into_iter().rev().zip(["c", "b", "a"]) {
        reply.send(Response { payload: text.into(), ..Response::default() });
    }
    for (stream, text) in [(5, "c"), (3, "b"), (1, "a")] {
        let (of, response) = caller.answer().await;
        assert_eq!((of, response.payload.as_slice()), (stream, text.as_bytes()));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_frame_is_said_and_the_next_one_is_served() {
    let mut caller = Caller::connect();
    let too_large = vec![0; MESSAGE_LENGTH_MAX + 1];
    let wrong: [(u8, u32, &[u8], Code); 6] = [
        (MESSAGE_TYPE_REQUEST, 4, b"", Code::INVALID_ARGUMENT),
        (MESSAGE_TYPE_REQUEST, 3, b"\xff\xff", Code::INVALID_ARGUMENT),
        (MESSAGE_TYPE_DATA, 3, b"", Code::INVALID_ARGUMENT),
        (MESSAGE_TYPE_REQUEST, 3, &too_large, Code::RESOURCE_EXHAUSTED),
        (77, 2, b"", Code::INVALID_ARGUMENT),
        (77, 3, &too_large, Code::RESOURCE_EXHAUSTED),
    ];
    for (kind, stream, body, code) in wrong {
        caller.send(kind, stream, body).await;
        let (of, response) = caller.answer().await;
        assert_eq!((of, response.status().code()), (stream, code));
        assert!(response.status().message().starts_with("guard: "), "{response:?}");
    }
    // Of a kind that nobody knows: there is no answer.
    caller.send(77, 3, b"what").await;
    caller.ask(3, "now").await;
    assert_eq!(caller.answer().await.0, 3);
    for stream in [1, 3] {
        caller.ask(stream, "now").await;
        let (of, response) = caller.answer().await;
        assert_eq!((of, response.status().code()), (stream, Code::INVALID_ARGUMENT));
    }
    caller.ask(5, "later").await;
    let large = Response { payload: too_large, ..Response::default() };
    caller.reply().await.unwrap().send(large);
    let (of, response) = caller.answer().await;
    assert_eq!((of, response.status().code()), (5, Code::RESOURCE_EXHAUSTED));
}

#[tokio::test]
async fn who_leaves_abandons_what_is_open_and_nothing_else() {
    let mut caller = Caller::connect();
    for stream in [1, 3, 5] {
        caller.ask(stream, "later").await;
    }
    let (first, _second, _third) =
        (caller.reply().await.unwrap(), caller.reply().await.unwrap(), caller.reply().await.unwrap());
    first.send(Response::default());
    assert_eq!(caller.answer().await.0, 1);
    let Caller { answers, requests, mut asked } = caller;
    drop((answers, requests));
    let mut abandoned = Vec::new();
    while let Some((request, reply)) = asked.recv().await {
        assert!(reply.is_none());
        abandoned.push(request.0);
    }
    assert_eq!(abandoned, [2, 3]);
}

/// So many requests come through, and no more; where their answers go.
async fn let_in(caller: &mut Caller, count: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..count {
        let (_, reply) = timeout(SOON, caller.asked.recv()).await.unwrap().unwrap();
        replies.push(reply.unwrap());
    }
    assert!(timeout(MOMENT, caller.asked.recv()).await.is_err(), "more than {count}");
    replies
}

#[tokio::test]
async fn who_leaves_too_much_open_is_not_read_until_answers_are_taken() {
    let mut caller = Caller::connect();
    let mut requests = std::mem::replace(&mut caller.requests, Caller::connect().requests);
    let sender = tokio::spawn(async move {
        for number in 0..10_000 {
            requests.write_all(&frame(MESSAGE_TYPE_REQUEST, number * 2 + 1, b"")).await.unwrap();
        }
        requests
    });
    let most = (WINDOW / EACH) as usize;
    let mut replies = let_in(&mut caller, most).await;
    for reply in replies.drain(..3) {
        reply.send(Response::default());
    }
    let_in(&mut caller, 3).await;
    // Answers that nobody takes make no room, but for what the socket holds.
    let large = Response { payload: vec![0; 1 << 20], ..Response::default() };
    for reply in replies.drain(..10) {
        reply.send(large.clone());
    }
    let_in(&mut caller, 0).await;
    for _ in 0..13 {
        caller.answer().await;
    }
    let_in(&mut caller, 10).await;
    sender.abort();
}

/// A caller in Go gives a Wait up and says nothing: they add up until the exit, and a SIGKILL must get past them.
#[tokio::test]
async fn waits_hold_nobody_up_and_there_is_an_end_to_them() {
    let mut caller = Caller::connect();
    let wait = Request { method: "Wait".into(), ..Request::default() }.write_to_bytes().unwrap();
    let most = (WAITS / (EACH + wait.len() as u64)) as u32;
    let mut waiting = Vec::new();
    for number in 0..most {
        caller.send(MESSAGE_TYPE_REQUEST, number * 2 + 1, &wait).await;
        waiting.push(caller.reply().await.unwrap());
    }
    caller.ask(most * 2 + 1, "Wait").await;
    let (stream, response) = caller.answer().await;
    assert_eq!((stream, response.status().code()), (most * 2 + 1, Code::RESOURCE_EXHAUSTED));
    caller.ask(most * 2 + 3, "Kill").await;
    caller.reply().await.unwrap().send(Response::default());
    assert_eq!(caller.answer().await.0, most * 2 + 3);
    // One that is answered makes room for another.
    waiting.swap_remove(7).send(Response::default());
    assert_eq!(caller.answer().await.0, 15);
    caller.ask(most * 2 + 5, "Wait").await;
    assert!(caller.reply().await.is_some());
}

#[tokio::test]
async fn large_requests_count_by_their_size_and_frames_without_answer_by_nothing() {
    let mut caller = Caller::connect();
    let mut requests = std::mem::replace(&mut caller.requests, Caller::connect().requests);
    let large = Request { payload: vec![0; MESSAGE_LENGTH_MAX - 100], ..Request::default() };
    let large = large.write_to_bytes().unwrap();
    let sender = tokio::spawn(async move {
        for _ in 0..3000 {
            requests.write_all(&frame(9, 1, b"")).await.unwrap();
        }
        for number in 0..4 {
            requests.write_all(&frame(MESSAGE_TYPE_REQUEST, number * 2 + 1, &large)).await.unwrap();
        }
        requests
    });
    let_in(&mut caller, 2).await;
    sender.abort();
}
