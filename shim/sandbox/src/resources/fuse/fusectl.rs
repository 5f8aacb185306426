//! The kernel's own file system for FUSE connections: who waits for a server, and the end of a connection.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::sys::kernel;

/// The kernel's list of FUSE connections, mounted nowhere.
pub(super) struct Fusectl(OwnedFd);

impl Fusectl {
    pub(super) fn open() -> io::Result<Self> {
        kernel::mount_detached(c"fusectl").map(Self)
    }

    fn file(&self, connection: u32, name: &str, how: OFlag) -> io::Result<fs::File> {
        let path = format!("{connection}/{name}");
        Ok(openat(&self.0, path.as_str(), how | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// How many requests are waiting; none of a connection that is gone.
    pub(super) fn waiting(&self, connection: u32) -> u64 {
        let mut text = String::new();
        let read = self
            .file(connection, "waiting", OFlag::O_RDONLY)
            .and_then(|mut file| file.read_to_string(&mut text));
        read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
    }

    pub(super) fn is_waiting(&self, connection: u32) -> bool {
        self.waiting(connection) > 0
    }

    pub(super) fn abort(&self, connection: u32) -> io::Result<()> {
        self.file(connection, "abort", OFlag::O_WRONLY)?.write_all(b"1")
    }
}
