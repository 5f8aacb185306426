//! A small disk that can be filled.

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Mounts an empty disk of so many MiB at `folder`, which is made. It goes with the host.
pub(crate) fn mount_small(folder: &Path, mib: u32) -> Result<()> {
    std::fs::create_dir(folder)?;
    let size = std::ffi::CString::new(format!("size={mib}m"))?;
    mount("tmpfs", folder, "tmpfs", MountFlags::empty(), size.as_c_str())
        .with_context(|| folder.display().to_string())
}

/// A disk with nothing free, until this is dropped.
#[derive(Debug)]
pub struct Filled(PathBuf);

impl Filled {
    /// Fills the disk of `folder` to its last byte.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("filler");
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        let filled = Self(path);
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context(filled.0.display().to_string()),
                }
            }
        }
        Ok(filled)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // A host that has ended has taken it along.
        let _ = std::fs::remove_file(&self.0);
    }
}
