//! Which cores processes may run on.

use anyhow::{Context as _, Result};
use integration::process::Process;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Some processes that share one core until this is dropped.
pub(super) struct OneCore(Vec<(Pid, CpuSet)>);

impl OneCore {
    /// All their threads, on the first core that the first of them may use. Threads that come later follow.
    pub(super) fn take(processes: &[Process]) -> Result<Self> {
        let mut before = Vec::new();
        for process in processes {
            for task in std::fs::read_dir(format!("/proc/{}/task", process.pid))? {
                let pid = task?.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
                let pid = pid.context("no thread's number")?;
                before.push((pid, sched_getaffinity(Some(pid))?));
            }
        }
        let allowed = before.first().context("no processes")?.1;
        let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).context("no core")?;
        let mut one = CpuSet::new();
        one.set(core);
        let taken = Self(before);
        for (pid, _) in &taken.0 {
            sched_setaffinity(Some(*pid), &one)?;
        }
        Ok(taken)
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        for (pid, before) in &self.0 {
            // A thread that has ended needs no core.
            let _ = sched_setaffinity(Some(*pid), before);
        }
    }
}
