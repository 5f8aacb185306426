//! What tests of this crate and of those above it share.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{iter, thread};

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;

use crate::sys::bounded::command_line;
use crate::sys::procfs::numbers;

/// A program that a test starts, once its own command line can be read: for a moment after the spawn it is empty.
pub fn started(command: &mut Command) -> Child {
    let child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    while command_line(pid).unwrap().is_empty() {
        std::thread::yield_now();
    }
    child
}

/// What comes of `work` where no file descriptor can be had: in a thread whose table is its own, and full.
pub fn without_descriptors<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        unshare(CloneFlags::CLONE_FILES).unwrap();
        // A copy would keep open what other tests close.
        for copy in numbers(Path::new("/proc/thread-self/fd")).unwrap().into_iter().filter(|copy| *copy > 2) {
            let _ = close(copy);
        }
        // A full table takes memory; no test has as many as this.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(4096), hard).unwrap();
        let _all: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
        work()
    };
    thread::scope(|threads| threads.spawn(work).join().unwrap())
}

/// A `runsc` of a test's own, a shell script; its folder goes with the first value.
pub fn stand_in(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runsc");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}
