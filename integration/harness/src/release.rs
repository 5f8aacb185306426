//! What `hack/package/release` makes.

use crate::{Parts, checkout, run};
use anyhow::Result;
use std::{process::Command, time::Duration};
use tempfile::TempDir;

/// It compresses, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(300);

/// A folder with its short form: one architecture, of the guard under test.
pub fn release() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(checkout().join("hack/package/release"));
    command.arg(folder.path()).env("RUNSC_GUARD_BIN", Parts::pinned()?.guard);
    run(&mut command, b"", LONG)?.ok()?;
    Ok(folder)
}
