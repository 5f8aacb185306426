//! Which cores processes may run on.

use anyhow::{Context as _, Result};
use harness::process::Process;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Processes that are kept to one core each until this is dropped.
pub(super) struct Pinned(Vec<(Pid, CpuSet)>);

impl Pinned {
    /// All their threads, each process on the core of this number among those that the first of them may use, or on the
    /// last there is. Threads that come later follow.
    pub(super) fn to(places: &[(&Process, usize)]) -> Result<Self> {
        let mut pinned = Self(Vec::new());
        let mut cores = Vec::new();
        for (process, number) in places {
            for task in std::fs::read_dir(format!("/proc/{}/task", process.pid))? {
                let pid = task?.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
                let pid = pid.context("no thread's number")?;
                let before = sched_getaffinity(Some(pid))?;
                if cores.is_empty() {
                    cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).collect();
                }
                let core = cores.get(*number).or(cores.last()).context("no core")?;
                let mut one = CpuSet::new();
                one.set(*core);
                pinned.0.push((pid, before));
                sched_setaffinity(Some(pid), &one)?;
            }
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (pid, before) in &self.0 {
            // A thread that has ended needs no core.
            let _ = sched_setaffinity(Some(*pid), before);
        }
    }
}
