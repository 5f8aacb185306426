//! What a process spends.

use anyhow::{Context as _, Result};
use harness::process::Process;

/// What a process spent, in all or per request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// Voluntary ones: it had nothing more to do.
    pub(crate) switches: f64,
}

impl Cost {
    /// Of all threads that live now.
    pub(crate) fn so_far(process: &Process) -> Result<Self> {
        let mut sum = Self { cpu_seconds: 0.0, switches: 0.0 };
        for task in std::fs::read_dir(format!("/proc/{}/task", process.pid))? {
            let task = task?.path();
            // It may have ended since its name was read.
            let Ok(schedstat) = std::fs::read_to_string(task.join("schedstat")) else { continue };
            let ns: f64 = schedstat.split(' ').next().context("no time")?.parse()?;
            sum.cpu_seconds += ns / 1e9;
            let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
            let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum.switches += switches.map_or(Ok(0.0), |number| number.trim().parse::<f64>())?;
        }
        Ok(sum)
    }

    /// Since `before`, for each of `requests`.
    pub(crate) fn since(self, before: Self, requests: usize) -> Self {
        Self {
            cpu_seconds: (self.cpu_seconds - before.cpu_seconds) / requests as f64,
            switches: (self.switches - before.switches) / requests as f64,
        }
    }
}
