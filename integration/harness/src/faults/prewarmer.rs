//! A sentry that does not come out of its prewarmer.

use crate::{Host, eventually, process::Process, write_script};
use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const PREWARMER: &str = "gvisor-sentry-prewarmer";

/// A runsc in the layout of gVisor's tarball whose prewarmer never becomes the sentry: a shell in its place runs the
/// sentry's program as its script, and that waits for a FIFO. So what hangs is the very program, with the command line
/// that runsc gives it.
pub fn stuck_prewarmer(host: &Host, name: &str) -> Result<PathBuf> {
    let folder = host.path().join(name);
    let beside = folder.join("gvisor-bin");
    fs::create_dir_all(&beside)?;
    let (runsc, fifo) = (folder.join("runsc"), folder.join("fifo"));
    fs::copy(&host.parts().runsc, &runsc)?;
    fs::copy("/bin/sh", beside.join(PREWARMER))?;
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    write_script(&beside.join("gvisor_sentry"), &format!("#!/bin/sh\nread _ <{}\n", fifo.display()))?;
    Ok(runsc)
}

/// Waits until a sandbox of this host hangs in it.
pub fn await_prewarmer(host: &Host, limit: Duration) -> Result<Process> {
    let is = |process: &Process| process.args.first().is_some_and(|arg| Path::new(arg).ends_with(PREWARMER));
    eventually(limit, "a sandbox is in its prewarmer", || host.processes().into_iter().find(is))
}
