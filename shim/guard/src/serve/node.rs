//! Whether the node goes down (rule 10), asked when somebody was sent SIGTERM: the guard, or the real shim.
//!
//! A service manager stops containerd first and then sends SIGTERM to everything (systemd-shutdown, which waits 90 s
//! for whatever lives on; OpenRC's and sysvinit's `killall5`), or tells all in one moment and containerd is gone a moment
//! later (busybox, runit, a container's own init). On a running node containerd is there: one that hangs, too, for the
//! kernel takes connections in its place.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep, timeout_at};

/// How long after a SIGTERM a containerd that goes is taken for the end of the node: as long as those wait who tell all
/// in one moment (sysvinit 10 s, the others less). Later it is a restart like any other.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a containerd is left alone that can be asked only once more.
const PAUSE: Duration = Duration::from_millis(250);
/// Process 1 at the end of a node, in the 15 bytes that the kernel keeps (systemd's src/shutdown/shutdown.c).
const SHUTDOWN: &[u8] = b"systemd-shutdow\n";

/// Ends with the node, for somebody who has nothing else to do: each SIGTERM is a reason to look, and so is one before this
/// was called, of which it is `told`. One that came in between is seen by process 1.
pub(super) async fn end(mut terminations: Signal, containerd: PathBuf, mut told: bool) {
    while !(is_shutting_down() || told && goes_down(containerd.clone()).await) {
        terminations.recv().await;
        told = true;
    }
}

fn is_shutting_down() -> bool {
    fs::read("/proc/1/comm").is_ok_and(|name| name == SHUTDOWN)
}

/// Ends when the node is seen to go down; false if it is not.
pub(super) async fn goes_down(containerd: PathBuf) -> bool {
    let end = Instant::now() + WINDOW;
    loop {
        if is_shutting_down() {
            return true;
        }
        match UnixStream::connect(&containerd).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return true;
            }
            // Closed by its end, whatever state it is in.
            Ok(connection) if timeout_at(end, connection.readable()).await.is_err() => return false,
            _ => {}
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(PAUSE).await;
    }
}
