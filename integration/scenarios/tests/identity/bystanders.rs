//! Who must survive, whatever is forged.

use anyhow::{Context as _, Result, ensure};
use harness::{Host, PodContainer, SOON, faults::Sandbox, leaks::Resources, process::Process};
use std::process::{Child, Command, Stdio};

/// A process that has nothing to do with any sandbox.
pub(super) struct Stranger {
    pub(super) child: Child,
    pub(super) process: Process,
}

impl Stranger {
    pub(super) fn new() -> Result<Self> {
        let child = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn()?;
        let process = Process::read(child.id().cast_signed()).context("no stranger")?;
        Ok(Self { child, process })
    }

    /// One that has exactly this pid, which must be free.
    pub(super) fn with_pid(pid: i32) -> Result<Self> {
        for _ in 0..200 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).context("ns_last_pid")?;
            let stranger = Self::new()?;
            if stranger.process.pid == pid {
                return Ok(stranger);
            }
        }
        anyhow::bail!("pid {pid} was never to be had")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Our own unreaped child.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All who must survive: a pod and a container under guards, a container under the unguarded shim, a stranger.
pub(super) struct Bystanders {
    pub(super) stranger: Stranger,
    pub(super) guarded: Sandbox,
    pub(super) pod: Sandbox,
    pub(super) pods_container: PodContainer,
    pub(super) unguarded: Sandbox,
    pub(super) resources: Resources,
}

impl Bystanders {
    pub(super) fn start(host: &Host) -> Result<Self> {
        let (ctr, cri) = (host.ctr(), host.cri()?);
        ctr.start(&host.handler("guarded")?, "neighbour", &["sleep", "100000"])?;
        ctr.start(&host.handler("unguarded")?, "bare", &["sleep", "100000"])?;
        let pod = cri.run_pod("guarded", "neighbour")?;
        let pods_container = cri.run_container(&pod, "c", &["sleep", "100000"])?;
        let mut resources = Resources::of(host);
        // CRI asks for Stats every second: of runsc's commands only `wait` stays.
        let is_runsc = |process: &Process| process.args.first().is_some_and(|arg| arg.ends_with("runsc"));
        resources.processes.retain(|one| !is_runsc(one) || one.args.iter().any(|arg| arg == "wait"));
        Ok(Self {
            stranger: Stranger::new()?,
            guarded: Sandbox::of(host, "neighbour")?,
            pod: Sandbox::of(host, &pod.id)?,
            pods_container,
            unguarded: Sandbox::of(host, "bare")?,
            resources,
        })
    }

    /// All of their processes, the guards first.
    pub(super) fn processes(&self) -> Vec<&Process> {
        let sandboxes = [&self.guarded, &self.pod, &self.unguarded];
        let guards = sandboxes.iter().filter_map(|one| one.guard.as_ref());
        let others = sandboxes.iter().flat_map(|one| [&one.real_shim, &one.sentry]);
        guards.chain(others).chain([&self.stranger.process]).collect()
    }

    pub(super) fn assert_alive(&self, host: &Host) -> Result<()> {
        for process in self.processes() {
            process.assert_spared()?;
        }
        let lost = self.resources.since(&Resources::of(host));
        ensure!(lost.is_empty(), "others lost:\n{lost}");
        Ok(())
    }

    pub(super) fn assert_well(&self, host: &Host) -> Result<()> {
        self.assert_alive(host)?;
        for id in ["neighbour", "bare"] {
            let answer = host.ctr().exec(id, "look", &["ls", "/bin/busybox"], b"", SOON)?;
            ensure!(answer.ok()? == "/bin/busybox\n", "{id} is not well");
        }
        let answer = host.cri()?.exec(&self.pods_container, &["ls", "/bin/busybox"], SOON)?;
        ensure!(answer.stdout == b"/bin/busybox\n", "the pod is not well: {answer:?}");
        Ok(())
    }
}
