use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;
use std::task::Waker;

use runsc_guard_proto::protobuf::Message as _;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use ttrpc::Request;
use ttrpc::proto::MESSAGE_TYPE_REQUEST;

use super::*;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn bytes(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let header = MessageHeader { length: body.len() as u32, stream_id: stream, type_: kind, flags: 0 };
    [Vec::from(header), body.to_vec()].concat()
}

/// A frame's stream and body.
type Seen = (u32, Option<Vec<u8>>);

/// All frames of what a peer sends, and what the last look came to.
fn all<S: AsyncRead + Unpin>(frames: &mut Frames<S>) -> (Vec<Seen>, &'static str) {
    let mut seen = Vec::new();
    loop {
        match frames.poll_next(&mut context()) {
            Poll::Ready(Ok(Some(frame))) => seen.push((frame.header.stream_id, frame.body.map(Vec::from))),
            Poll::Ready(Ok(None)) => return (seen, "closed"),
            Poll::Ready(Err(_)) => return (seen, "broken"),
            Poll::Pending => return (seen, "waits"),
        }
    }
}

/// Gives out so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.1.min(self.0.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn frames_are_seen_however_they_are_cut() {
    let sent = [bytes(1, 1, b"hello"), bytes(1, 3, b""), bytes(2, 5, &[7; 3000])].concat();
    let whole = vec![(1, Some(b"hello".to_vec())), (3, Some(Vec::new())), (5, Some(vec![7; 3000]))];
    for size in [1, 2, 3, 9, 10, 11, 14, 15, 16, 100, 1023, 1024, 1025, sent.len()] {
        let mut frames = Frames::new(Pieces(&sent, size));
        assert_eq!(all(&mut frames), (whole.clone(), "closed"), "in pieces of {size}");
    }
    for cut in [0, 1, 9, 10, 12, sent.len() - 1] {
        let mut frames = Frames::new(&sent[..cut]);
        let (seen, end) = all(&mut frames);
        assert!(whole.starts_with(&seen) && seen.len() < 3 && end == "closed", "cut at {cut}");
    }
}

#[test]
fn what_is_too_large_is_told_once_and_thrown_away() {
    let large = vec![1; MESSAGE_LENGTH_MAX + 1];
    let sent = [bytes(1, 1, &large), bytes(1, 3, b"next"), bytes(1, 5, &large[1..])].concat();
    for size in [1 << 10, 4097, sent.len()] {
        let mut frames = Frames::new(Pieces(&sent, size));
        let (seen, end) = all(&mut frames);
        let about: Vec<_> =
            seen.iter().map(|(stream, body)| (*stream, body.as_ref().map(Vec::len))).collect();
        assert_eq!((about, end), (vec![(1, None), (3, Some(4)), (5, Some(MESSAGE_LENGTH_MAX))], "closed"));
        assert!(frames.incoming.capacity() < 4 * MOST_AT_ONCE || size > 4097, "kept what nobody wants");
    }
    let endless = bytes(1, 1, b"").into_iter().enumerate().map(|(at, byte)| if at < 4 { 255 } else { byte });
    let endless: Vec<u8> = endless.collect();
    assert_eq!(all(&mut Frames::new(&endless[..])), (vec![(1, None)], "closed"));
}

#[tokio::test]
async fn what_is_queued_goes_in_one_write_and_buffers_are_given_back() {
    let (ours, theirs) = StdStream::pair().unwrap();
    for side in [&ours, &theirs] {
        side.set_nonblocking(true).unwrap();
    }
    let mut frames = Frames::new(UnixStream::from_std(ours).unwrap());
    let mut peer = UnixStream::from_std(theirs).unwrap();
    let request = Request { method: "State".into(), payload: vec![7; 100], ..Request::default() };
    let body = request.write_to_bytes().unwrap();
    for stream in [1, 3, 5] {
        frames.queue(MESSAGE_TYPE_REQUEST, stream, &request);
    }
    peer.writable().await.unwrap();
    std::future::poll_fn(|cx| frames.poll_flush(cx)).await.unwrap();
    let mut read = vec![0; 4096];
    let count = peer.read(&mut read).await.unwrap();
    let sent: Vec<u8> = [1, 3, 5].into_iter().flat_map(|stream| bytes(1, stream, &body)).collect();
    assert_eq!(&read[..count], sent);

    // More than the socket takes at once.
    let large = Request { payload: vec![7; 1 << 20], ..Request::default() };
    frames.queue(MESSAGE_TYPE_REQUEST, 7, &large);
    assert!(frames.poll_flush(&mut context()).is_pending());
    let taken = tokio::spawn(async move {
        let mut all = vec![0; (1 << 20) + 14];
        peer.read_exact(&mut all).await.unwrap();
        (all, peer)
    });
    std::future::poll_fn(|cx| frames.poll_flush(cx)).await.unwrap();
    assert!(frames.outgoing.capacity() <= KEPT);
    let (all, peer) = taken.await.unwrap();
    assert_eq!(all, bytes(1, 7, &large.write_to_bytes().unwrap()));
    drop(peer);
    frames.queue(MESSAGE_TYPE_REQUEST, 9, &request);
    assert!(std::future::poll_fn(|cx| frames.poll_flush(cx)).await.is_err(), "nobody is there");
}

#[tokio::test]
async fn a_frame_that_comes_wakes_its_reader() {
    let (ours, mut theirs) = StdStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut frames = Frames::new(UnixStream::from_std(ours).unwrap());
    assert!(frames.poll_next(&mut context()).is_pending());
    let sender = tokio::task::spawn_blocking(move || {
        theirs.write_all(&bytes(1, 1, b"one")).unwrap();
        theirs
    });
    let seen =
        std::future::poll_fn(|cx| frames.poll_next(cx).map(|next| next.unwrap().map(|frame| frame.header)));
    assert_eq!(seen.await.map(|header| header.stream_id), Some(1));
    drop(sender.await.unwrap());
    let closed = std::future::poll_fn(|cx| frames.poll_next(cx).map(|next| next.unwrap().is_none()));
    assert!(closed.await);
}
