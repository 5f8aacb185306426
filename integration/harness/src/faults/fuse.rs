//! A FUSE server that answers nobody, and who waits for it.

use super::sandbox::Sandbox;
use crate::{Asked, Fuse, eventually, process::Process, run};
use anyhow::Result;
use std::{process::Command, time::Duration};

/// The FUSE server stops answering, and somebody waits for it who cannot be killed. Released
/// by [`Fuse::answer`] or [`Fuse::end`]. A container of the sandbox has to look into it, see
/// [`READS_VOLUME`](super::READS_VOLUME).
pub fn hang_fuse(fuse: &Fuse) -> Result<()> {
    fuse.hang();
    await_held(fuse)
}

/// Waits for somebody to wait for the server that hangs.
pub fn await_held(fuse: &Fuse) -> Result<()> {
    eventually(Duration::from_secs(20), "somebody waits for the FUSE server", || {
        (fuse.held() > 0).then_some(())
    })
}

/// A FUSE server that hangs in a write while a stub of a container that runs `uses_file("munmap")` is in munmap, and
/// holds its mmap_lock: whoever reads its command line waits for it, and cannot but be killed. (A stub has unmapped what
/// its command line was in, so the reader asks for the lock to write; mm/mmap.c, `expand_stack`.) Gives that stub.
/// Released by [`Fuse::answer`] or [`Fuse::end`]; every reader of /proc on the machine is its victim until then.
pub fn hold_mmap_lock(fuse: &Fuse, sandbox: &Sandbox) -> Result<Process> {
    let stubs = sandbox.stubs();
    fuse.hang_in(&[Asked::Write]);
    eventually(Duration::from_secs(20), "a stub that holds its mmap_lock", || {
        let hangs = |stub: &&Process| Process::state(stub.pid) == Some('D');
        stubs.iter().find(hangs).filter(|stub| is_command_line_held(stub.pid)).cloned()
    })
}

/// Whether nobody can read the command line of this process for now.
pub fn is_command_line_held(pid: i32) -> bool {
    let read = run(Command::new("cat").arg(format!("/proc/{pid}/cmdline")), b"", Duration::from_millis(500));
    read.is_ok_and(|outcome| outcome.timed_out())
}
