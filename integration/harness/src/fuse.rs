//! A file system whose server can be told to stop answering: what makes a process that even SIGKILL cannot end.
//!
//! It shows a folder of the host. The server runs in this process, so that its end, orderly or not, ends the
//! connection and with it every wait.
//!
//! Which waits are unkillable: a request that the server has read and not answered, whatever it asks, and a FLUSH
//! always, which every open file sends when its process exits (fs/fuse/dev.c, `request_wait_answer`); and each wait
//! for a page that is being written back (`folio_wait_writeback`), which is what fsync, msync, munmap and exit do with
//! dirty pages. So the server reads on while it hangs, and has flushes sent to it.

mod folder;
mod gate;

use anyhow::{Context as _, Result};
pub use folder::Access;
use folder::Folder;
use fuser::{BackgroundSession, Config, Session, SessionACL};
pub use gate::Asked;
use gate::Gate;
use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags, minor, open, openat, stat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsmount,
        fsopen, mount, unmount,
    },
};
use std::{
    ffi::CString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A mounted file system of the kind `fuse`. Dropping it ends it.
#[derive(Debug)]
pub struct Fuse {
    source: PathBuf,
    point: PathBuf,
    connection: u32,
    gate: Arc<Gate>,
    ended: AtomicBool,
    session: BackgroundSession,
}

impl Fuse {
    /// Shows `source` at `point`, which is made if need be.
    pub fn serve(source: &Path, point: &Path, access: Access) -> Result<Self> {
        std::fs::create_dir_all(point)?;
        let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("/dev/fuse")?;
        let options = CString::new(format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        ))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::RDONLY, access == Access::ReadOnly);
        mount("runsc-guard-test", point, "fuse", flags, options.as_c_str())
            .with_context(|| format!("cannot mount at {}", point.display()))?;
        let gate = Arc::<Gate>::default();
        let folder = Folder::new(source, access, Arc::clone(&gate));
        let session = Session::from_fd(folder, device, SessionACL::All, Config::default())
            .and_then(Session::spawn)
            .and_then(|session| Ok((minor(stat(point)?.st_dev), session)));
        let (connection, session) = match session {
            Ok(session) => session,
            Err(error) => {
                // The device is closed with the session, so this does not hang.
                unmount(point, UnmountFlags::DETACH)?;
                return Err(error.into());
            }
        };
        Ok(Self {
            source: source.to_owned(),
            point: point.to_owned(),
            connection,
            gate,
            ended: AtomicBool::new(false),
            session,
        })
    }

    /// The folder that it shows: what it has written.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Its connection's name under fusectl: the minor number of its device.
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// From now on requests that somebody waits for are read and not answered.
    pub fn hang(&self) {
        self.hang_in(&Asked::AWAITED);
    }

    /// The same only for what asks one of these.
    pub fn hang_in(&self, what: &[Asked]) {
        self.gate.close(what);
    }

    /// From now on each request of this kind is answered only when the server has worked on it for so long, one after
    /// another.
    pub fn slow_down(&self, what: Asked, work: Duration) {
        self.gate.slow_down(what, work);
    }

    /// How many requests it has read and not answered because it hangs.
    pub fn held(&self) -> usize {
        self.gate.held()
    }

    /// How many requests it has answered late, see [`Fuse::slow_down`].
    pub fn answered_late(&self) -> usize {
        self.gate.answered_late()
    }

    /// Answers what waits, and goes on answering.
    pub fn answer(&self) {
        self.gate.open();
    }

    /// Whether nobody has aborted the connection: then the kernel tells the server so.
    pub fn is_connected(&self) -> bool {
        !self.session.guard.is_finished()
    }

    /// Takes its mount out of this mount namespace; who has it elsewhere keeps it.
    pub fn detach(&self) -> Result<()> {
        unmount(&self.point, UnmountFlags::DETACH).with_context(|| self.point.display().to_string())
    }

    /// The server's end: whoever waits for it is woken with an error, and the mount goes.
    pub fn end(&self) -> Result<()> {
        if self.ended.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let fusectl = fusectl()?;
        let abort = format!("{}/abort", self.connection);
        // Somebody else may have aborted it.
        if let Ok(file) = openat(&fusectl, abort, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            rustix::io::write(&file, b"1").context("cannot abort the connection")?;
        }
        self.gate.open();
        // It may have been detached before; other mounts of other names go with their holders.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        Ok(())
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{}: {error:#}", self.point.display());
        }
    }
}

/// The kernel's list of connections, mounted nowhere.
fn fusectl() -> Result<OwnedFd> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC).context("fusectl")?;
    fsconfig_create(&context).context("fusectl")?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context("fusectl")
}
