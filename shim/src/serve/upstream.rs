//! The connections to the real shim, and its answers.
//!
//! A client of our own and not the ttrpc crate's, for two things the guard is built on and that one cannot
//! express. The timeout that goes with a request and the time we listen for its answer are different: the
//! real shim must give up a hung runsc, and the guard must know whether it *has* (a request that waits for a
//! Go mutex has not, and asking again would pile up goroutines). And a deadline must never close a
//! connection that other requests share.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use runsc_guard::io::{CallId, Lane};
use runsc_guard_proto::protobuf::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_RESPONSE, MessageHeader};
use ttrpc::{Request, Response};

use super::Message;

/// Number of a connection, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(super) u64);

/// One connection with the calls that wait on it.
struct Connection {
    lane: Lane,
    frames: UnboundedSender<Vec<u8>>,
    calls: BTreeMap<u32, Sent>,
    next_stream: u32,
    task: JoinHandle<()>,
}

/// A call that has been sent.
struct Sent {
    call: CallId,
    method: String,
}

/// All connections to the real shim. Opened when first used.
pub(crate) struct Upstream {
    socket: PathBuf,
    reports: UnboundedSender<Message>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: u64,
}

impl Upstream {
    pub(crate) fn new(socket: PathBuf, reports: UnboundedSender<Message>) -> Self {
        Self { socket, reports, connections: BTreeMap::new(), next: 0 }
    }

    /// Sends a request; its answer comes back as [`Message::Answered`] or [`Message::Disconnected`].
    pub(crate) fn send(&mut self, call: CallId, request: Request, lane: Lane) {
        let shared = self
            .connections
            .iter()
            .find(|(_, connection)| lane != Lane::Own && connection.lane == lane)
            .map(|(id, _)| *id);
        let id = shared.unwrap_or_else(|| self.open(lane));
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let stream = connection.next_stream;
        connection.next_stream = stream.wrapping_add(2);
        let frame = frame(stream, &request);
        connection.calls.insert(stream, Sent { call, method: request.method });
        // A closed channel means a lost connection, whose report is on its way.
        let _ = connection.frames.send(frame);
    }

    fn open(&mut self, lane: Lane) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let (frames, outgoing) = unbounded_channel();
        let task = tokio::spawn(run(id, self.socket.clone(), outgoing, self.reports.clone()));
        let connection = Connection { lane, frames, calls: BTreeMap::new(), next_stream: 1, task };
        self.connections.insert(id, connection);
        id
    }

    /// Which call an answer belongs to; `None` for one that was given up.
    pub(crate) fn answered(&mut self, id: ConnectionId, stream: u32) -> Option<(CallId, String)> {
        let connection = self.connections.get_mut(&id)?;
        let sent = connection.calls.remove(&stream)?;
        if connection.lane == Lane::Own {
            self.close(id);
        }
        Some((sent.call, sent.method))
    }

    /// The calls that a lost connection takes with it.
    pub(crate) fn disconnected(&mut self, id: ConnectionId) -> Vec<CallId> {
        let lost = self.connections.remove(&id);
        lost.map(|connection| connection.calls.into_values().map(|sent| sent.call).collect())
            .unwrap_or_default()
    }

    /// Gives a call up. Where it has a connection of its own, closing that ends the real shim's work on it.
    pub(crate) fn cancel(&mut self, call: CallId) {
        let holder = self.connections.iter_mut().find_map(|(id, connection)| {
            let stream = *connection.calls.iter().find(|(_, sent)| sent.call == call)?.0;
            connection.calls.remove(&stream);
            Some((*id, connection.lane))
        });
        if let Some((id, Lane::Own)) = holder {
            self.close(id);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            connection.task.abort();
        }
    }
}

/// A request's frame: header and message in one buffer, one write.
fn frame(stream: u32, request: &Request) -> Vec<u8> {
    let size = request.compute_size();
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(MESSAGE_HEADER_LENGTH + length as usize);
    frame.extend_from_slice(&Vec::from(MessageHeader::new_request(stream, length)));
    // Writing to memory fails only where a required field is missing, which proto3 does not have.
    let _ = request.write_to_vec(&mut frame);
    frame
}

async fn run(
    id: ConnectionId,
    socket: PathBuf,
    outgoing: UnboundedReceiver<Vec<u8>>,
    reports: UnboundedSender<Message>,
) {
    let ended = serve(id, socket, outgoing, &reports).await;
    if let Err(error) = ended {
        log::debug!("connection to the real shim ended: {error}");
    }
    let _ = reports.send(Message::Disconnected(id));
}

async fn serve(
    id: ConnectionId,
    socket: PathBuf,
    outgoing: UnboundedReceiver<Vec<u8>>,
    reports: &UnboundedSender<Message>,
) -> io::Result<()> {
    let (reader, writer) = UnixStream::connect(socket).await?.into_split();
    tokio::select! {
        result = write(writer, outgoing) => result,
        result = read(id, reader, reports) => result,
    }
}

async fn write(mut writer: OwnedWriteHalf, mut outgoing: UnboundedReceiver<Vec<u8>>) -> io::Result<()> {
    while let Some(frame) = outgoing.recv().await {
        writer.write_all(&frame).await?;
    }
    Ok(())
}

pub(super) async fn read(
    id: ConnectionId,
    reader: impl AsyncRead + Unpin,
    reports: &UnboundedSender<Message>,
) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::with_capacity(1024, reader);
    loop {
        let mut header = [0; MESSAGE_HEADER_LENGTH];
        reader.read_exact(&mut header).await?;
        let header = MessageHeader::from(header);
        let length = header.length as usize;
        if length > MESSAGE_LENGTH_MAX {
            return Err(io::Error::other(format!("frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        if header.type_ != MESSAGE_TYPE_RESPONSE {
            continue;
        }
        let response = Response::parse_from_bytes(&payload).map_err(io::Error::other)?;
        let answered = Message::Answered { connection: id, stream: header.stream_id, response };
        if reports.send(answered).is_err() {
            return Ok(());
        }
    }
}
