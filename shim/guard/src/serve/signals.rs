//! Signals that the guard is sent, and SIGCHLD: which child has ended, and how.

use std::io;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use super::message::Message;

/// Signals that would end a process that does not expect them.
const SIGNALS: [SignalKind; 5] = [
    SignalKind::terminate(),
    SignalKind::interrupt(),
    SignalKind::hangup(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
];

/// Has each of them reported.
pub(super) fn listen(reports: &UnboundedSender<Message>) -> io::Result<()> {
    for kind in SIGNALS {
        let mut stream = signal(kind)?;
        let reports = reports.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                let _ = reports.send(Message::Signal(kind));
            }
        });
    }
    Ok(())
}

/// Takes leave of a child that has ended: the next one, or none for now.
pub(super) fn ended_child() -> Option<(i32, WaitStatus)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(how @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _))) => {
                return Some((pid.as_raw(), how));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Whether a real shim that ended like this has left of its own accord: one that was sent SIGTERM does so without a
/// complaint (containerd pkg/shim/shim_unix.go).
pub(super) const fn has_left(how: WaitStatus) -> bool {
    matches!(how, WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGTERM, _))
}
