//! Where the real shim is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why there is no such program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// gVisor's shim is not installed, or elsewhere.
    #[error(
        "the real shim \"{shim}\" is in no folder of containerd's PATH ({}); install gVisor's \
         containerd-shim-runsc-v1 there, or set [guard] shim to its absolute path", path.display()
    )]
    NotOnPath {
        /// Its name.
        shim: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is none at the configured path.
    #[error("the real shim {} is no executable file; correct [guard] shim", .0.display())]
    NotExecutable(PathBuf),
}

/// Finds the real shim as containerd would: an absolute path, or a name on PATH.
pub fn find_shim(shim: &str, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let executable = |file: &Path| {
        fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if shim.starts_with('/') {
        let file = PathBuf::from(shim);
        return if executable(&file) { Ok(file) } else { Err(ProgramError::NotExecutable(file)) };
    }
    let path = path.unwrap_or_default();
    std::env::split_paths(path)
        .map(|folder| folder.join(shim))
        .find(|file| file.is_absolute() && executable(file))
        .ok_or_else(|| ProgramError::NotOnPath { shim: shim.to_owned(), path: path.into() })
}

/// PATH, as containerd passes it.
pub fn path() -> Option<OsString> {
    std::env::var_os("PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(path: &Path) {
        fs::write(path, b"#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_real_shim_is_found_as_containerd_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let shim = dir.path().join("shim");
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        fs::write(&shim, b"").unwrap();
        let error = find_shim("shim", Some(&path)).unwrap_err().to_string();
        assert!(error.starts_with("the real shim \"shim\" is in no folder of containerd's PATH (/nowhere:"));
        assert!(find_shim(shim.to_str().unwrap(), None).unwrap_err().to_string().contains("no executable"));
        executable(&shim);
        assert_eq!(find_shim("shim", Some(&path)).unwrap(), shim);
        assert_eq!(find_shim(shim.to_str().unwrap(), None).unwrap(), shim);
        assert!(find_shim("shim", None).is_err());
    }
}
