//! What a container has on FUSE, and what it runs to use it.

use crate::{Access, Fuse, Host};
use anyhow::Result;
use std::{path::Path, sync::Arc};

/// Where a container finds the volume of [`fuse_volume`].
pub const VOLUME: &str = "/mnt";

/// What a container runs to look into its volume again and again.
pub const READS_VOLUME: &[&str] = &["sh", "-c", "while :; do cat /mnt/file >/dev/null; done"];

/// A FUSE volume with one file, mounted at `point` below the host's folder (for a pod:
/// [`crate::Cri::volume`]). A container gets it by [`volume_flag`] or [`crate::Cri::create_container_with`].
pub fn fuse_volume(host: &Host, point: &Path) -> Result<Arc<Fuse>> {
    let source = host.path().join("volume");
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), "well\n")?;
    host.fuse(&source, point, Access::ReadOnly)
}

/// The same for who writes: the file has some pages of zeroes. What has been let out of it is in [`Fuse::source`].
pub fn writable_volume(host: &Host, point: &Path, access: Access) -> Result<Arc<Fuse>> {
    let source = host.path().join("writable").join(point);
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), [0; WRITABLE])?;
    host.fuse(&source, point, access)
}

/// The length of the file of [`writable_volume`], as `guest/files.rs` has it.
pub const WRITABLE: usize = 8 * 4096;

/// What a container runs to use that file again and again, see `guest/files.rs`.
pub fn uses_file(verb: &str) -> [&str; 3] {
    ["files", verb, "/mnt/file"]
}

/// What `ctr run` needs to mount `source` at [`VOLUME`].
pub fn volume_flag(source: &Path) -> String {
    volume_flag_with(source, "ro")
}

/// The same for a [`writable_volume`].
pub fn writable_volume_flag(source: &Path) -> String {
    volume_flag_with(source, "rw")
}

fn volume_flag_with(source: &Path, access: &str) -> String {
    format!("--mount=type=bind,src={},dst={VOLUME},options=rbind:{access}", source.display())
}

/// What a container runs to look into its rootfs again and again: names that nobody has cached. It has begun when it can
/// do [`HAS_READ`]; before that its own program may not be read yet, and who waits for a page can be killed.
pub const READS_ROOTFS: &[&str] =
    &["sh", "-c", "i=0; while :; do i=$((i+1)); cat /etc/$i 2>/dev/null; echo $i >/round; done"];

/// What succeeds in a container that runs [`READS_ROOTFS`] once it has read.
pub const HAS_READ: &[&str] = &["cat", "/round"];

/// A rootfs on FUSE, for `ctr run --rootfs`; the handler needs runsc's `overlay2` to be "root:memory", since the
/// file system is read-only.
pub fn fuse_rootfs(host: &Host, point: &Path) -> Result<Arc<Fuse>> {
    let source = host.path().join("rootfs-source");
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(source.join(folder))?;
    }
    std::fs::copy("/bin/busybox", source.join("bin/busybox"))?;
    for applet in ["sh", "cat", "sleep", "echo"] {
        std::os::unix::fs::symlink("busybox", source.join("bin").join(applet))?;
    }
    host.fuse(&source, point, Access::ReadOnly)
}
