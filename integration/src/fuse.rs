//! A file system whose server can be told to stop answering: what makes a process that even SIGKILL cannot end.
//!
//! It shows a folder of the host, read-only. The server runs in this process, so that its end, orderly or not,
//! ends the connection and with it every wait.
//!
//! Which waits are unkillable (fs/fuse/dev.c, `request_wait_answer`): a request that the server has read and not
//! answered, whatever it asks, and a FLUSH always, which every open file sends when its process exits. So the
//! server reads on while it hangs, and has flushes sent to it.

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    Request, Session, SessionACL,
};
use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags, minor, open, openat, stat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsmount,
        fsopen, mount, unmount,
    },
};
use std::{
    ffi::{CString, OsStr},
    fs::Metadata,
    mem,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

/// Nothing is cached: every look at a name asks the server.
const TTL: Duration = Duration::ZERO;

/// A mounted file system of the kind `fuse`. Dropping it ends it.
#[derive(Debug)]
pub struct Fuse {
    point: PathBuf,
    connection: u32,
    gate: Arc<Gate>,
    ended: AtomicBool,
    session: BackgroundSession,
}

impl Fuse {
    /// Shows `source` at `point`, which is made if need be.
    pub fn serve(source: &Path, point: &Path) -> Result<Self> {
        std::fs::create_dir_all(point)?;
        let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("/dev/fuse")?;
        let options = CString::new(format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        ))?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount("runsc-guard-test", point, "fuse", flags, options.as_c_str())
            .with_context(|| format!("cannot mount at {}", point.display()))?;
        let gate = Arc::<Gate>::default();
        let folder = Folder { gate: Arc::clone(&gate), paths: Mutex::new(vec![source.to_owned()]) };
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
        Ok(Self { point: point.to_owned(), connection, gate, ended: AtomicBool::new(false), session })
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Its connection's name under fusectl: the minor number of its device.
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// From now on requests are read and not answered.
    pub fn hang(&self) {
        self.gate.close();
    }

    /// How many requests it has read and not answered.
    pub fn held(&self) -> usize {
        self.gate.held()
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

type Held = Box<dyn FnOnce() + Send>;

/// Lets answers out, or keeps them.
#[derive(Default)]
struct Gate(Mutex<Option<Vec<Held>>>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} held)", self.held())
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().get_or_insert_default();
    }

    fn open(&self) {
        let held = mem::take(&mut *self.lock());
        held.into_iter().flatten().for_each(|answer| answer());
    }

    fn held(&self) -> usize {
        self.lock().as_ref().map_or(0, Vec::len)
    }

    fn pass(&self, answer: impl FnOnce() + Send + 'static) {
        let mut held = self.lock();
        match held.as_mut() {
            Some(held) => held.push(Box::new(answer)),
            None => {
                drop(held);
                answer();
            }
        }
    }
}

/// A folder of the host; inode n is the nth name that was looked up.
struct Folder {
    gate: Arc<Gate>,
    paths: Mutex<Vec<PathBuf>>,
}

impl Folder {
    fn path(&self, ino: INodeNo) -> PathBuf {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(ino.0 - 1).ok().and_then(|nth| paths.get(nth).cloned()).unwrap_or_default()
    }

    fn inode(&self, path: &Path) -> INodeNo {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = paths.iter().position(|known| known == path).unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        });
        INodeNo(nth as u64 + 1)
    }
}

impl Filesystem for Folder {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let path = self.path(parent).join(name);
        let found = path.symlink_metadata().map(|meta| attributes(self.inode(&path), &meta));
        self.gate.pass(move || match found {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.path(ino).symlink_metadata().map(|meta| attributes(ino, &meta));
        self.gate.pass(move || match found {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = std::fs::read_link(self.path(ino));
        self.gate.pass(move || match target {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(error) => reply.error(error.into()),
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.gate.pass(move || reply.opened(FileHandle(0), FopenFlags::empty()));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let path = self.path(ino);
        self.gate.pass(move || {
            let mut bytes = vec![0; size as usize];
            match std::fs::File::open(path).and_then(|file| file.read_at(&mut bytes, offset)) {
                Ok(count) => reply.data(&bytes[..count]),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.gate.pass(move || reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let path = self.path(ino);
        let mut entries = vec![(INodeNo(ino.0), FileType::Directory, ".".into())];
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let kind = entry.file_type().map_or(FileType::RegularFile, kind);
            entries.push((self.inode(&entry.path()), kind, entry.file_name()));
        }
        self.gate.pass(move || {
            let rest = entries.into_iter().zip(1..).skip(usize::try_from(offset).unwrap_or(usize::MAX));
            for ((ino, kind, name), next) in rest {
                if reply.add(ino, next, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn access(&self, _: &Request, _: INodeNo, _: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}

fn kind(file: std::fs::FileType) -> FileType {
    if file.is_dir() {
        FileType::Directory
    } else if file.is_symlink() {
        FileType::Symlink
    } else {
        FileType::RegularFile
    }
}

fn attributes(ino: INodeNo, meta: &Metadata) -> FileAttr {
    FileAttr {
        ino,
        size: meta.len(),
        blocks: meta.blocks(),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(meta.file_type()),
        perm: (meta.permissions().mode() & 0o7777) as u16,
        nlink: 1,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
