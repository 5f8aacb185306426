//! What tests of this crate and of those above it share.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::sys::bounded::command_line;

/// A program that a test starts, once its own command line can be read: for a moment after the spawn it is empty.
pub fn started(command: &mut Command) -> Child {
    let child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    while command_line(pid).unwrap().is_empty() {
        std::thread::yield_now();
    }
    child
}

/// A `runsc` of a test's own, a shell script; its folder goes with the first value.
pub fn stand_in(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runsc");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}
