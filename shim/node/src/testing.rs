//! What tests of this crate and of those above it share.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use runsc_guard_proto::protobuf::Message;
use runsc_guard_proto::service;
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MessageHeader};
use ttrpc::{Request, Response};

/// A guard that answers each request with what `answer` makes of its method and payload.
pub fn fake_guard(socket: &Path, answer: impl Fn(&str, &[u8]) -> Response + Send + 'static) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that has left is no concern of the tests.
            let _ = serve_one(stream.unwrap(), &answer);
        }
    });
}

fn serve_one(mut stream: UnixStream, answer: &impl Fn(&str, &[u8]) -> Response) -> io::Result<()> {
    let mut header = [0; MESSAGE_HEADER_LENGTH];
    stream.read_exact(&mut header)?;
    let header = MessageHeader::from(header);
    let mut body = vec![0; header.length as usize];
    stream.read_exact(&mut body)?;
    let request = Request::parse_from_bytes(&body)?;
    assert_eq!(request.service, service::GUARD);
    assert!(request.timeout_nano > 0);
    let body = answer(&request.method, &request.payload).write_to_bytes()?;
    let length = u32::try_from(body.len()).unwrap();
    let mut frame = Vec::from(MessageHeader::new_response(header.stream_id, length));
    frame.extend(body);
    // In two pieces: an answer may come so.
    let (first, second) = frame.split_at(4);
    stream.write_all(first)?;
    thread::sleep(Duration::from_millis(5));
    stream.write_all(second)
}

/// The answer of a request that succeeds.
pub fn ok(message: &impl Message) -> Response {
    Response { payload: message.write_to_bytes().unwrap(), ..Response::default() }
}

/// The answer of one that fails.
pub fn status(code: ttrpc::Code, message: &str) -> Response {
    let mut response = Response::default();
    response.set_status(ttrpc::get_status(code, message));
    response
}
