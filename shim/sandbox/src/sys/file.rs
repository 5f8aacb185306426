//! The few small files that the guard reads and writes. Reading never blocks on a FIFO and never goes on
//! without a limit; writing never leaves half a file behind, whenever the process is killed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// A name in the file system and what it stands for, without opening that: a FIFO or a file system that hangs holds
/// nobody up. Not by std's `custom_flags`: on musl, where O_PATH counts as an access mode, it takes O_PATH away.
pub(crate) fn name(path: &Path, how: OFlag) -> io::Result<File> {
    Ok(nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC | how, Mode::empty())?.into())
}

/// Why a file gave no content.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing there.
    #[error("no such file")]
    Absent,
    /// Something there that is no regular file.
    #[error("is a {0}, not a regular file")]
    NotAFile(&'static str),
    /// More than anybody would write.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// The kernel says no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    // O_NONBLOCK: a FIFO without a writer would otherwise hold `open` forever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Absent),
        Err(error) => return Err(ReadError::Io(error)),
    };
    let about = file.metadata()?;
    let kind = about.file_type();
    if !kind.is_file() {
        return Err(ReadError::NotAFile(if kind.is_dir() {
            "directory"
        } else if kind.is_fifo() {
            "FIFO"
        } else {
            "special file"
        }));
    }
    // In one piece where the size is told; /proc tells none.
    let size = about.len().min(limit) as usize;
    let mut content = Vec::with_capacity(if size > 0 { size + 1 } else { 0 });
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(content)
}

/// Replaces `path` in one step: a reader sees the old content or the new, whole. Not synced: these files
/// lie on a tmpfs and end with the boot, and a disk that hangs must not hold up a request.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write_new(&draft, content, mode).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Nothing can be done about a draft that does not go either.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Never into what stands there already, which may be a link to anywhere.
fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask is containerd's, the mode is part of what the file means.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_a_directory_and_a_large_file_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&fifo, 10), Err(ReadError::NotAFile("FIFO"))));
        // Nobody writes to it, so that opening it would wait.
        assert!(name(&fifo, OFlag::O_NOFOLLOW).unwrap().metadata().unwrap().file_type().is_fifo());
        assert!(matches!(read(dir.path(), 10), Err(ReadError::NotAFile("directory"))));
        assert!(matches!(read(&dir.path().join("none"), 10), Err(ReadError::Absent)));
        let large = dir.path().join("large");
        fs::write(&large, b"12345678901").unwrap();
        assert!(matches!(read(&large, 10), Err(ReadError::TooLarge(10))));
        assert_eq!(read(&large, 11).unwrap(), b"12345678901");
    }

    #[test]
    fn replacing_sets_the_mode_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("address");
        replace(&path, b"old and longer", 0o600).unwrap();
        replace(&path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_planted_link_is_replaced_and_never_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, path) = (dir.path().join("outside"), dir.path().join("record"));
        let draft = dir.path().join(format!(".record.{}", std::process::id()));
        fs::write(&outside, b"mine").unwrap();
        for planted in [&path, &draft] {
            let _ = fs::remove_file(planted);
            std::os::unix::fs::symlink(&outside, planted).unwrap();
        }
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"mine");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_and_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        assert!(replace(&dir.path().join("gone/file"), b"x", 0o600).is_err());
    }
}
