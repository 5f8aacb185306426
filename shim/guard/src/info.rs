//! `-info` and `-v`: the real shim's own answer. containerd asks at start-up which features a runtime has
//! (`internal/cri/server/service.go`), and a guard has those of what it guards. It never asks for `-v`; people do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::about;
use crate::cli::{self, Asker};
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

/// Becomes the real shim for `-info`, with the same arguments and the same stdin.
pub fn become_real_shim(args: &[OsString], path: Option<&OsStr>, stdin: &[u8]) -> InfoError {
    let run = || -> Result<io::Error, InfoError> {
        let shim = real_shim(cli::config_path(stdin).as_deref(), path)?;
        Ok(Command::new(shim).args(args).stdin(again(stdin)?).exec())
    };
    run().map_or_else(|error| error, InfoError::Exec)
}

/// Becomes the real shim for `-v`, after a word about this program where a person may read it. stdin is not read: it
/// may be a terminal, or a pipe into which nobody writes. Without a real shim, the version of this program is an
/// answer to a person; a program gets the error.
pub fn version(args: &[OsString], asker: Asker, path: Option<&OsStr>) -> Result<(), InfoError> {
    let mut stdout = io::stdout();
    let shim = match (real_shim(None, path), asker) {
        (Err(error), Asker::Program) => return Err(error.into()),
        (Err(error), Asker::Either | Asker::Person) => {
            return Ok(writeln!(stdout, "{}no real shim here: {error}", about::version())?);
        }
        (Ok(shim), _) => shim,
    };
    match asker {
        Asker::Program => {}
        Asker::Either => write!(io::stderr(), "{}", about::version())?,
        Asker::Person => writeln!(stdout, "{}The real shim is {}:", about::version(), shim.display())?,
    }
    stdout.flush()?;
    let mut command = Command::new(shim);
    match asker {
        Asker::Program => command.args(args),
        // The one form that gVisor's shim knows.
        Asker::Either | Asker::Person => command.arg("-v"),
    };
    Err(InfoError::Exec(command.stdin(Stdio::null()).exec()))
}

/// Where the real shim is. A bad configuration is not these flags' business: then it is looked for under its usual
/// name.
fn real_shim(config_path: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let config = config::load(config_path).unwrap_or_default();
    program::find_shim(&config.shim, path)
}

/// What was read from stdin, to be read once more.
fn again(stdin: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("stdin", MFdFlags::empty())?);
    file.write_all(stdin)?;
    file.rewind()?;
    Ok(file.into())
}
