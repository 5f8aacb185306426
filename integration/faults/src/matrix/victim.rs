//! What is hurt, and how its owner speaks of it to containerd: in the words of a real client.

mod ask;

use super::{Bench, Cell, Fault, Request, Subject, bench::HANDLER};
use anyhow::{Context as _, Result, ensure};
use harness::{Access, Ctr, Fuse, Handler, Pod, PodContainer, ctr, eventually, faults};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long what must work may take, on a busy machine.
const HEALTHY: Duration = Duration::from_secs(60);
/// What containerd has to answer about what is gone.
const ANSWER: Duration = Duration::from_secs(10);

/// The subject of one cell.
pub(super) struct Victim<'a> {
    bench: &'a Bench,
    cell: Cell,
    handler: Handler,
    /// The container's id, or the pod's name.
    name: String,
    ctr: Ctr,
    pod: Option<(Pod, Vec<PodContainer>)>,
    /// Under the volume of the container, where the fault is there.
    fuse: Option<Arc<Fuse>>,
    /// Requests that nobody has ever answered.
    unanswered: Mutex<Vec<String>>,
}

impl<'a> Victim<'a> {
    /// Brings up what must run before the request comes.
    pub(super) fn bring_up(bench: &'a Bench, cell: Cell, name: &str) -> Result<Self> {
        let handler = bench.configure(&cell)?;
        if let Fault::Hangs("wait") = cell.fault {
            // The real shim waits from the start: later would be too late.
            bench.gate().hang("wait")?;
        }
        let ctr = bench.host().ctr();
        let fuse = match (cell.fault, cell.subject) {
            (Fault::FuseHung | Fault::MmapLockHeld | Fault::FuseUnwritten, Subject::StandAlone) => {
                Some(Path::new("volumes").join(name))
            }
            (Fault::FuseHung | Fault::MmapLockHeld | Fault::FuseUnwritten, Subject::Pod) => {
                Some(bench.cri().volume(name, "volume"))
            }
            _ => None,
        };
        let serve = |point: PathBuf| match cell.fault {
            Fault::MmapLockHeld => faults::writable_volume(bench.host(), &point, Access::WriteThrough),
            Fault::FuseUnwritten => faults::writable_volume(bench.host(), &point, Access::Writeback),
            _ => faults::fuse_volume(bench.host(), &point),
        };
        let fuse = fuse.map(serve).transpose()?;
        let mut victim = Self {
            bench,
            cell,
            handler,
            name: name.to_owned(),
            ctr,
            pod: None,
            fuse,
            unanswered: Mutex::default(),
        };
        match cell.subject {
            Subject::StandAlone => victim.bring_up_container()?,
            Subject::Pod => victim.bring_up_pod()?,
        }
        Ok(victim)
    }

    fn bring_up_container(&self) -> Result<()> {
        if self.cell.request.makes_the_container() || self.cell.is_never_made() {
            return Ok(());
        }
        self.run(HEALTHY)?;
        if self.cell.request == Request::Delete {
            self.ctr.kill(&self.name, "SIGKILL", HEALTHY)?.ok()?;
            eventually(HEALTHY, "the task has exited", || {
                let tasks = self.ctr.tasks(ANSWER).ok()?;
                tasks.iter().any(|task| task.id == self.name && task.status == "STOPPED").then_some(())
            })?;
        }
        Ok(())
    }

    fn bring_up_pod(&mut self) -> Result<()> {
        let cri = self.bench.cri();
        let pod = cri.run_pod(HANDLER, &self.name)?;
        self.ctr = self.ctr.in_namespace("k8s.io");
        let mut containers = Vec::new();
        for name in ["one", "two"] {
            containers.push(cri.run_container(&pod, name, &["sleep", "100000"])?);
        }
        let volumes: Vec<(&Path, &str)> =
            self.fuse.iter().map(|fuse| (fuse.point(), faults::VOLUME)).collect();
        let command = self.cell.fault.command();
        let third = match volumes.as_slice() {
            [volume] if matches!(self.cell.fault, Fault::MmapLockHeld | Fault::FuseUnwritten) => {
                cri.create_container_writing(&pod, "three", command, *volume)?
            }
            volumes => cri.create_container_with(&pod, "three", 0, command, volumes)?,
        };
        if !self.cell.request.makes_the_container() {
            cri.start_container(&third)?;
        }
        containers.push(third);
        self.pod = Some((pod, containers));
        Ok(())
    }

    /// `ctr run`, in the background, until it returns.
    fn run(&self, limit: Duration) -> Result<()> {
        let command = self.cell.fault.command();
        if self.cell.fault != Fault::StdoutFull {
            let flag = match self.cell.fault {
                Fault::MmapLockHeld | Fault::FuseUnwritten => faults::writable_volume_flag,
                _ => faults::volume_flag,
            };
            let volume = self.fuse.as_ref().map(|fuse| flag(fuse.point()));
            let flags: Vec<&str> =
                ["--annotation", ctr::SANDBOX].into_iter().chain(volume.as_deref()).collect();
            return self.run_detached(&flags, limit);
        }
        let fifos = self.fifos();
        let flags = ["--detach", "--fifo-dir", &fifos.to_string_lossy()];
        let args = self.ctr.run_args(&self.handler, &flags, &self.name, command);
        // For as long as it runs, ctr hands on what the container writes: to nobody.
        let mut child = self
            .ctr
            .command(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let began = Instant::now();
        let status = eventually(limit, "ctr run returns", || child.try_wait().transpose());
        if status.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ensure!(status??.success(), "ctr run failed after {:?}", began.elapsed());
        Ok(())
    }

    fn fifos(&self) -> PathBuf {
        self.bench.host().path().join("fifos").join(&self.name)
    }

    /// The FIFO of the container's stdout.
    pub(super) fn stdout(&self) -> Result<PathBuf> {
        let wanted = format!("{}-stdout", self.name);
        let all = harness::traces::files_below(&self.fifos());
        all.into_iter().find(|path| path.ends_with(&wanted)).context("no stdout FIFO")
    }

    /// The container that the request is about.
    pub(super) fn target(&self) -> &str {
        match &self.pod {
            Some((_, containers)) => containers.last().map_or("", |container| &container.id),
            None => &self.name,
        }
    }

    /// The sandbox's id.
    pub(super) fn sandbox(&self) -> &str {
        self.pod.as_ref().map_or(&self.name, |(pod, _)| &pod.id)
    }

    /// Its containers' ids, the root's first.
    pub(super) fn ids(&self) -> Vec<String> {
        let members = self.pod.iter().flat_map(|(_, containers)| containers.iter().map(|one| one.id.clone()));
        std::iter::once(self.sandbox().to_owned()).chain(members).collect()
    }

    pub(super) fn fuse(&self) -> Option<Arc<Fuse>> {
        self.fuse.clone()
    }

    pub(super) fn cell(&self) -> &Cell {
        &self.cell
    }

    pub(super) fn ctr(&self) -> &Ctr {
        &self.ctr
    }

    pub(super) fn bench(&self) -> &'a Bench {
        self.bench
    }

    pub(super) fn run_detached(&self, flags: &[&str], limit: Duration) -> Result<()> {
        let command = self.cell.fault.command();
        let outcome = self.ctr.run_detached(&self.handler, flags, &self.name, command, limit)?;
        outcome.ok().map(drop)
    }
}
