//! One connection to a real shim: sends what it is given, and tells the answers.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};

use runsc_guard_proto::protobuf::Message as _;
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use ttrpc::proto::{MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE};
use ttrpc::{Request, Response};

use super::super::frames::{Frame, Frames};
use super::super::message::{ConnectionId, Message};
use super::super::socket::Socket;

/// Until it breaks, which is told as well.
pub(super) async fn run(
    id: ConnectionId,
    socket: PathBuf,
    requests: UnboundedReceiver<(u32, Request)>,
    reports: UnboundedSender<Message>,
) {
    if let Err(error) = serve(id, socket, requests, &reports).await {
        log::debug!("connection to the real shim ended: {error}");
    }
    let _ = reports.send(Message::Disconnected(id));
}

async fn serve(
    id: ConnectionId,
    socket: PathBuf,
    mut requests: UnboundedReceiver<(u32, Request)>,
    reports: &UnboundedSender<Message>,
) -> io::Result<()> {
    let mut frames = Frames::new(Socket::new(UnixStream::connect(socket).await?)?);
    poll_fn(|cx| {
        while let Poll::Ready(Some((stream, request))) = requests.poll_recv(cx) {
            frames.queue(MESSAGE_TYPE_REQUEST, stream, &request);
        }
        // Answers are read meanwhile, too.
        let _ = frames.poll_flush(cx)?;
        poll_answers(id, &mut frames, cx, reports)
    })
    .await
}

/// Tells the answers that come, until none does any more.
pub(crate) fn poll_answers(
    id: ConnectionId,
    frames: &mut Frames<impl AsyncRead + Unpin>,
    cx: &mut Context<'_>,
    reports: &UnboundedSender<Message>,
) -> Poll<io::Result<()>> {
    while let Some(Frame { header, body }) = ready!(frames.poll_next(cx))? {
        let body = body.ok_or_else(|| io::Error::other(format!("a frame of {} bytes", header.length)))?;
        if header.type_ != MESSAGE_TYPE_RESPONSE {
            continue;
        }
        let response = Response::parse_from_bytes(body).map_err(io::Error::other)?;
        let _ = reports.send(Message::Received { connection: id, stream: header.stream_id, response });
    }
    Poll::Ready(Ok(()))
}
