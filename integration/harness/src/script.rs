//! Programs that scenarios put in the place of others.

use anyhow::{Context as _, Result};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// Writes a program that anybody may run: `text` begins with `#!` and the name of a shell.
pub fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| path.display().to_string())
}
