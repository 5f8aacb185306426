//! A cgroup that takes no more processes.

use crate::process::Process;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// A cgroup in which nobody can make a thread or a child, around one process, until the value is dropped.
#[derive(Debug)]
pub struct Full(PathBuf);

impl Full {
    /// Not below the host's own cgroup, which is looked at for what the guard has left.
    pub fn around(process: &Process) -> Result<Self> {
        let name = format!("runsc-guard-test-full-{}-{}", process.pid, process.started);
        let full = Self(Path::new("/sys/fs/cgroup/pids").join(name));
        std::fs::create_dir_all(&full.0).with_context(|| full.0.display().to_string())?;
        std::fs::write(full.0.join("cgroup.procs"), process.pid.to_string())?;
        full.limit("0")?;
        Ok(full)
    }

    fn limit(&self, most: &str) -> Result<()> {
        std::fs::write(self.0.join("pids.max"), most).context("pids.max")
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = self.limit("max");
        let procs = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = std::fs::write("/sys/fs/cgroup/pids/cgroup.procs", pid);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}
