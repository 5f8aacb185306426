//! What a wedge strikes: the processes around one sandbox.

use super::signals::stop;
use crate::{Host, eventually, process::Process};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::{path::Path, time::Duration};

/// The processes around one sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// gVisor's kernel.
    pub sentry: Process,
    /// The real shim that serves it.
    pub real_shim: Process,
    /// The guard before that, where there is one.
    pub guard: Option<Process>,
}

impl Sandbox {
    /// The sandbox whose id is `id` (of a pod: the pod's).
    pub fn of(host: &Host, id: &str) -> Result<Self> {
        let all = host.processes();
        let ancestors = |of: &Process, name: &str| {
            let mut at = of.parent;
            loop {
                let process = all.iter().find(|p| p.pid == at)?;
                if program(process).is_some_and(|program| program.starts_with(name)) {
                    return Some(process.clone());
                }
                at = process.parent;
            }
        };
        let mut sentries = all.iter().filter(|p| {
            p.args.first().is_some_and(|arg| arg == "runsc-sandbox")
                && p.args.last().is_some_and(|arg| arg == id)
        });
        // Others may say the same of themselves: whom a shim has started is the one.
        let started =
            |sentry: &Process| Some((sentry.clone(), ancestors(sentry, "containerd-shim-runsc-v1")?));
        let (sentry, real_shim) =
            sentries.find_map(started).with_context(|| format!("no sentry of {id} with a real shim"))?;
        let guard = ancestors(&sentry, "containerd-shim-runsc-guard-v2");
        Ok(Self { sentry, real_shim, guard })
    }

    /// Waits for it to be: Create takes a moment before the sentry runs.
    pub fn await_of(host: &Host, id: &str) -> Result<Self> {
        eventually(Duration::from_secs(20), "a sentry with its shim", || Self::of(host, id).ok())
    }

    /// The systrap stubs: the sentry's own children without arguments.
    pub fn stubs(&self) -> Vec<Process> {
        Process::all()
            .into_iter()
            .filter(|p| p.parent == self.sentry.pid && p.args.is_empty() && p.state != 'Z')
            .collect()
    }

    /// The real shim and all that descends from it: everything but the guard.
    pub fn all_but_guard(&self) -> Vec<Process> {
        let shim = self.real_shim.pid;
        Process::with_descendants(|p| p.pid == shim)
    }

    /// The sentry stops answering, as in `Kernel.WaitExited`, and can be continued.
    pub fn stop_sentry(&self) -> Result<()> {
        stop(&self.sentry)
    }

    /// The real shim and the sandbox are stopped at once: nothing of the sandbox moves any more.
    pub fn stop_all_but_guard(&self) -> Result<()> {
        for process in self.all_but_guard() {
            if process.is_alive() {
                stop(&process)?;
            }
        }
        Ok(())
    }

    /// The sandbox's own freezer cgroup (version 1), in which even SIGKILL waits.
    pub fn freeze(&self) -> Result<()> {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", self.sentry.pid))?;
        let group =
            groups.lines().find_map(|line| line.split_once(":freezer:")).context("no freezer cgroup")?.1;
        let file =
            Path::new("/sys/fs/cgroup/freezer").join(group.trim_start_matches('/')).join("freezer.state");
        std::fs::write(&file, "FROZEN").with_context(|| file.display().to_string())?;
        eventually(Duration::from_secs(5), "frozen", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == "FROZEN").then_some(())
        })
    }
}

/// The guard of the sandbox `id`, whatever else of that is there (yet).
pub fn guard(host: &Host, id: &str) -> Option<Process> {
    host.processes().into_iter().find(|process| {
        let serves = process.arg_after("-publish-binary").is_none() && process.arg_after("-id") == Some(id);
        serves && program(process).is_some_and(|name| name.starts_with("containerd-shim-runsc-guard"))
    })
}

/// What socket, folder and lock of a pod's guard are named by (shim/node/src/paths.rs).
pub fn guards_name(host: &Host, namespace: &str, sandbox: &str) -> String {
    let whole = format!("{}/{namespace}/{sandbox}/guard", host.socket().display());
    Sha256::digest(whole.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn program(process: &Process) -> Option<String> {
    let first = process.args.first()?;
    Some(Path::new(first).file_name()?.to_string_lossy().into_owned())
}
