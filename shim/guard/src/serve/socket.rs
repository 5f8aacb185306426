//! A connection that wakes the guard when there is something to read, and not whenever its peer has read.
//!
//! tokio's own stream waits for room to write from its beginning on, and a Unix socket tells of room each time that the
//! peer takes something out (net/unix/af_unix.c, `unix_write_space`). So each frame would wake its sender once more, for
//! nothing, and the one who reads it would spend the time to do so. Here room is waited for only where there is none.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use super::watch::watch;

/// One connection.
pub(crate) struct Socket {
    stream: AsyncFd<StdStream>,
    /// The same socket, while it has no room. epoll knows a descriptor once, so it is another one.
    full: Option<AsyncFd<StdStream>>,
}

impl Socket {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let stream = watch(stream.into_std()?, Interest::READABLE)?;
        Ok(Self { stream, full: None })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(cx))?;
            let Ok(read) = ready.try_io(|stream| stream.get_ref().read(buf.initialize_unfilled())) else {
                continue;
            };
            let read = read?;
            // Less than was asked for is all there was: whatever comes now wakes this task anew.
            if read > 0 && read < buf.remaining() {
                ready.clear_ready();
            }
            buf.advance(read);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, full } = self.get_mut();
        loop {
            if let Some(socket) = full {
                let mut ready = ready!(socket.poll_write_ready(cx))?;
                let Ok(written) = ready.try_io(|stream| stream.get_ref().write(buf)) else { continue };
                *full = None;
                return Poll::Ready(written);
            }
            match stream.get_ref().write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let same = stream.get_ref().try_clone()?;
                    *full = Some(watch(same, Interest::WRITABLE)?);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Handle;

    /// A socket and its peer, which reads and writes as tokio does.
    fn pair() -> (Socket, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Socket::new(one).unwrap(), other)
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_until_the_end() {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"question").await.unwrap();
        let mut read = [0; 8];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"question");
        socket.write_all(b"answer").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = String::new();
        peer.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "answer");
        drop(peer);
        assert_eq!(socket.read(&mut read).await.unwrap(), 0);
        assert!(socket.write(b"nobody").await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_written_when_there_is_room() {
        const MUCH: usize = 4 << 20;
        let (mut socket, mut peer) = pair();
        let mut all = Vec::new();
        let writes = async {
            socket.write_all(&vec![7; MUCH]).await.unwrap();
            assert!(socket.full.is_none(), "it still waits for room");
            drop(socket);
        };
        let (read, ()) = tokio::join!(peer.read_to_end(&mut all), writes);
        assert_eq!(read.unwrap(), MUCH);
        assert!(all.iter().all(|byte| *byte == 7));
    }

    /// How often the runtime is woken while a peer takes out ten frames, one after the other.
    async fn wakes(mut writer: impl AsyncWrite + Unpin, peer: UnixStream) -> u64 {
        let mut peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        for _ in 0..10 {
            writer.write_all(b"a frame").await.unwrap();
        }
        // What has happened until here has been told.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let parked = || Handle::current().metrics().worker_park_count(0);
        let before = parked();
        let reads = tokio::task::spawn_blocking(move || {
            for _ in 0..10 {
                peer.read_exact(&mut [0; 7]).unwrap();
                thread::sleep(Duration::from_millis(3));
            }
        });
        reads.await.unwrap();
        parked() - before
    }

    #[tokio::test]
    async fn a_peer_that_reads_wakes_nobody() {
        let (socket, peer) = pair();
        let by_itself = wakes(socket, peer).await;
        let (stream, peer) = UnixStream::pair().unwrap();
        let with_tokios = wakes(stream, peer).await;
        assert!(by_itself <= 2 && with_tokios >= 5, "{by_itself}, with tokio's own {with_tokios}");
    }
}
