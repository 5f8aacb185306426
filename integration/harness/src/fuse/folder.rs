//! What the server shows: a folder of the host, by the simplest means.

use super::gate::{Asked, Gate};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a file system lets its users do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Write, each write a request of its own (what is mapped is written back from pages all the same).
    WriteThrough,
    /// Write into the page cache, which is written back later.
    Writeback,
}

/// Nothing is cached: every look at a name asks the server.
const TTL: Duration = Duration::ZERO;

/// A folder of the host; inode n is the nth name that was looked up.
pub(super) struct Folder {
    access: Access,
    gate: Arc<Gate>,
    paths: Mutex<Vec<PathBuf>>,
}

impl Folder {
    pub(super) fn new(source: &Path, access: Access, gate: Arc<Gate>) -> Self {
        Self { access, gate, paths: Mutex::new(vec![source.to_owned()]) }
    }

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
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.access == Access::Writeback {
            let unknown = |_| io::Error::other("this kernel has no FUSE_WRITEBACK_CACHE");
            config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE).map_err(unknown)?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let path = self.path(parent).join(name);
        let found = path.symlink_metadata().map(|meta| attributes(self.inode(&path), &meta));
        self.gate.pass(Asked::Other, move || match found {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.path(ino).symlink_metadata().map(|meta| attributes(ino, &meta));
        self.gate.pass(Asked::Other, move || match found {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = std::fs::read_link(self.path(ino));
        self.gate.pass(Asked::Other, move || match target {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(error) => reply.error(error.into()),
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.gate.pass(Asked::Other, move || reply.opened(FileHandle(0), FopenFlags::empty()));
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
        self.gate.pass(Asked::Read, move || {
            let mut bytes = vec![0; size as usize];
            match File::open(path).and_then(|file| file.read_at(&mut bytes, offset)) {
                Ok(count) => reply.data(&bytes[..count]),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(ino);
        self.gate.pass(Asked::Other, move || {
            let resize = |size| File::options().write(true).open(&path).and_then(|file| file.set_len(size));
            match size.map_or(Ok(()), resize).and_then(|()| path.symlink_metadata()) {
                Ok(meta) => reply.attr(&TTL, &attributes(ino, &meta)),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let path = self.path(parent).join(name);
        let made = File::options().write(true).create(true).truncate(false).open(&path);
        let made = made.and_then(|file| Ok(attributes(self.inode(&path), &file.metadata()?)));
        self.gate.pass(Asked::Other, move || match made {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (path, data) = (self.path(ino), data.to_vec());
        // What was not answered is not written either: who looks at the folder sees what was let out.
        self.gate.pass(Asked::Write, move || {
            let file = File::options().write(true).open(path);
            match file.and_then(|file| file.write_all_at(&data, offset)) {
                Ok(()) => reply.written(data.len() as u32),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.gate.pass(Asked::Fsync, move || reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.gate.pass(Asked::Release, move || reply.ok());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.gate.pass(Asked::Flush, move || reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let path = self.path(ino);
        let mut entries = vec![(INodeNo(ino.0), FileType::Directory, ".".into())];
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let kind = entry.file_type().map_or(FileType::RegularFile, kind);
            entries.push((self.inode(&entry.path()), kind, entry.file_name()));
        }
        self.gate.pass(Asked::Other, move || {
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
