//! ttrpc by hand: frames that no client would send, and callers that no client would be.

use crate::{Host, SHORTLY};
use anyhow::{Context as _, Result, ensure};
use protobuf::Message as _;
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

/// The type of a frame that carries a request.
pub const REQUEST: u8 = 1;
/// The service that gVisor's shim and the guard both serve.
pub const TASK: &str = "containerd.task.v2.Task";

/// One connection to the shim (real or guard) of a container.
#[derive(Debug)]
pub struct Wire {
    /// The socket itself, for bytes that are no frames.
    pub stream: UnixStream,
}

/// An answer: its stream, its status code (0 is success) and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The stream of the request.
    pub stream: u32,
    /// gRPC's code.
    pub code: i32,
    /// The error's text.
    pub message: String,
}

impl Wire {
    /// Connects to where containerd would.
    pub fn connect(host: &Host, namespace: &str, id: &str) -> Result<Self> {
        let stream = UnixStream::connect(host.shim_socket(namespace, id)?)?;
        stream.set_read_timeout(Some(crate::patience(SHORTLY)))?;
        Ok(Self { stream })
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("the shim does not take it")
    }

    /// Reads one answer.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut header = [0; 10];
        self.stream.read_exact(&mut header).context("no answer")?;
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        ensure!(header[8] == 2, "a frame of type {}", header[8]);
        let mut body = vec![0; number(0) as usize];
        self.stream.read_exact(&mut body)?;
        let answer = ttrpc::Response::parse_from_bytes(&body)?;
        let status = answer.status.unwrap_or_default();
        Ok(Reply { stream: number(4), code: status.code.value(), message: status.message })
    }
}

/// A frame of any kind; `length` is what its header says.
pub fn frame(kind: u8, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(body);
    bytes
}

/// A request of the Task service as it should be, with the caller's timeout.
pub fn timed(
    stream: u32,
    method: &str,
    message: &impl protobuf::Message,
    timeout: Duration,
) -> Result<Vec<u8>> {
    encode(stream, TASK, method, message, timeout)
}

/// A request of any service, without a timeout.
pub fn request(
    stream: u32,
    service: &str,
    method: &str,
    message: &impl protobuf::Message,
) -> Result<Vec<u8>> {
    encode(stream, service, method, message, Duration::ZERO)
}

fn encode(
    stream: u32,
    service: &str,
    method: &str,
    message: &impl protobuf::Message,
    timeout: Duration,
) -> Result<Vec<u8>> {
    let request = ttrpc::Request {
        service: service.to_owned(),
        method: method.to_owned(),
        timeout_nano: i64::try_from(timeout.as_nanos())?,
        payload: message.write_to_bytes()?,
        ..Default::default()
    };
    let body = request.write_to_bytes()?;
    Ok(frame(REQUEST, stream, u32::try_from(body.len())?, &body))
}
