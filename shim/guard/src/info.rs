//! `-info` and `-v`: the real shim's own answer. containerd asks at start-up which features a runtime has
//! (`internal/cri/server/service.go`), and a guard has those of what it guards.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::cli;
use runsc_guard_node::config;
use runsc_guard_node::program::{self, ProgramError};

/// Why the real shim was not asked.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// There is none.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It could not be run.
    #[error("cannot run the real shim: {0}")]
    Exec(#[from] io::Error),
}

/// Becomes the real shim, with the same arguments and the same stdin. A bad configuration is not this
/// action's business: then the real shim is looked for under its usual name.
pub fn become_real_shim(args: &[OsString], path: Option<&OsStr>, stdin: &[u8]) -> InfoError {
    let file = cli::config_path(stdin);
    let config = config::load(file.as_deref()).unwrap_or_default();
    let run = || -> Result<io::Error, InfoError> {
        let shim = program::find_shim(&config.shim, path)?;
        Ok(Command::new(shim).args(args).stdin(again(stdin)?).exec())
    };
    run().map_or_else(|error| error, InfoError::Exec)
}

/// What was read from stdin, to be read once more.
fn again(stdin: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("stdin", MFdFlags::empty())?);
    file.write_all(stdin)?;
    file.rewind()?;
    Ok(file.into())
}
