//! The last words of guards that end, each a datagram on the one socket that all of them know.
//!
//! Beside the guards' folders, which only root can enter. Where two servers run on a node, only one of them hears:
//! the other goes on with what it hears at scrapes.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context as _, Result};
use runsc_guard_proto::guard::MetricsResponse;
use runsc_guard_proto::protobuf::Message as _;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::Sender;

use super::message::{Bound, Message, clear_away};
use crate::screen;

/// No tally is larger: it has a fixed number of counters.
const LARGEST: usize = 16 * 1024;

/// Passes on what is said at `path`. Where that cannot be heard, it is said so and the rest goes on.
pub(super) fn listen(path: &Path, to: Sender<Message>) -> Option<Bound> {
    match bind(path) {
        Ok(socket) => {
            tokio::spawn(hear(socket, to));
            Some(Bound(path.to_owned()))
        }
        Err(error) => {
            let lost = "what guards count after their last scrape will be missing";
            screen::complain(&format!("runsc-guard: {lost}: {error:#}"));
            None
        }
    }
}

fn bind(path: &Path) -> Result<UnixDatagram> {
    let failed = || format!("cannot listen on {}", path.display());
    if let Some(folder) = path.parent() {
        // As the first guard would.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
    }
    clear_away(path)?;
    UnixDatagram::bind(path).with_context(failed)
}

async fn hear(socket: UnixDatagram, to: Sender<Message>) {
    let mut datagram = vec![0; LARGEST];
    while let Ok(length) = socket.recv(&mut datagram).await {
        // What cannot be read is of a version to come.
        let Ok(word) = MetricsResponse::parse_from_bytes(&datagram[..length]) else { continue };
        if to.send(Message::FinalMetrics(word)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::channel;

    #[tokio::test]
    async fn what_is_said_is_passed_on_and_one_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/metrics.sock");
        let (to, mut heard) = channel(4);
        let listening = listen(&path, to.clone()).unwrap();
        assert!(listen(&path, to.clone()).is_none(), "two cannot hear the same");
        let word = MetricsResponse { namespace: "ns".into(), pid: 7, ..MetricsResponse::default() };
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        sender.send_to(b"\xff nothing", &path).unwrap();
        sender.send_to(&word.write_to_bytes().unwrap(), &path).unwrap();
        assert!(matches!(heard.recv().await, Some(Message::FinalMetrics(read)) if read == word));
        // The task that listens holds the socket; its file is gone, and a new one is free to be made.
        drop(listening);
        assert!(!path.exists());
        assert!(listen(&path, to).is_some());
    }
}
