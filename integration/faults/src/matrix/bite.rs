//! Whether a fault has bitten. One that nobody has met proves nothing: its cell is told, and counts for nothing.

use super::gate::Gate;
use harness::{Fuse, Host, process::Process};
use std::sync::Arc;

/// By what one sees, from outside, that a fault is felt.
pub(super) enum Sign {
    /// What was done is the effect: somebody was killed, frozen, ended.
    Done,
    /// These were stopped, and one of them still is.
    Stopped(Vec<Process>),
    /// One of these runsc commands has hung or failed.
    Met(Vec<&'static str>),
    /// Somebody waits for the FUSE server.
    Waited(Arc<Fuse>),
    /// Somebody waits for the lock of the file with this inode.
    Locked(u64),
    /// Since its log was this long, the host has said that a disk is full.
    Full(usize),
}

impl Sign {
    /// Whether it can be seen at this moment.
    pub(super) fn is_there(&self, host: &Host, gate: &Gate) -> bool {
        match self {
            Self::Done => true,
            Self::Stopped(processes) => {
                processes.iter().any(|one| one.is_alive() && Process::state(one.pid) == Some('T'))
            }
            Self::Met(commands) => gate.has_met(commands),
            Self::Waited(fuse) => fuse.held() > 0,
            Self::Locked(inode) => {
                let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
                locks.lines().any(|line| waits_for(line, *inode))
            }
            Self::Full(said) => {
                host.log().get(*said..).is_some_and(|log| log.to_lowercase().contains("no space left"))
            }
        }
    }
}

/// A line of /proc/locks: `7: -> FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`.
fn waits_for(line: &str, inode: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let of = words.get(6).and_then(|file| file.rsplit(':').next()).and_then(|text| text.parse().ok());
    words.get(1) == Some(&"->") && of == Some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock_is_told_from_who_has_it() {
        assert!(waits_for("7: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 1234));
        assert!(!waits_for("7: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 123));
        assert!(!waits_for("7: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 1234));
        assert!(!waits_for("", 0));
    }
}
