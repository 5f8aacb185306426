//! A pod that nobody touches.

use crate::{Host, PodContainer, faults::Sandbox, process::Process};
use anyhow::{Result, ensure};
use std::time::Duration;

/// A pod beside the one that a scenario wedges, which must not notice.
#[derive(Debug)]
pub struct Neighbour {
    container: PodContainer,
    sandbox: Sandbox,
}

impl Neighbour {
    /// Runs it under the handler `neighbour`.
    pub fn start(host: &Host) -> Result<Self> {
        let cri = host.cri()?;
        let pod = cri.run_pod("neighbour", "neighbour")?;
        let container = cri.run_container(&pod, "c", &["sleep", "100000"])?;
        Ok(Self { container, sandbox: Sandbox::of(host, &pod.id)? })
    }

    /// What runs of it now: containerd has commands run for it at any time.
    pub fn processes(&self) -> Vec<Process> {
        let Sandbox { real_shim, guard, .. } = &self.sandbox;
        let top = guard.as_ref().unwrap_or(real_shim).pid;
        Process::with_descendants(|process| process.pid == top)
    }

    /// Fails if one of its processes is gone.
    pub fn assert_alive(&self) -> Result<()> {
        let Sandbox { sentry, real_shim, guard } = &self.sandbox;
        for process in [sentry, real_shim].into_iter().chain(guard) {
            process.assert_spared()?;
        }
        Ok(())
    }

    /// Fails if it is not as it was, or does not answer.
    pub fn assert_untouched(&self, host: &Host) -> Result<()> {
        self.assert_alive()?;
        let answer = host.cri()?.exec(&self.container, &["echo", "well"], Duration::from_secs(10))?;
        ensure!(answer.stdout == b"well\n", "the neighbour answers {answer:?}");
        Ok(())
    }
}
