//! What is hurt, and how its owner speaks of it to containerd: in the words of a real client.

use super::{Bench, Cell, Fault, Request, Subject, bench::HANDLER};
use anyhow::{Context as _, Result, bail, ensure};
use containerd_shim_protos::api;
use harness::{
    Access, Ctr, Fuse, Handler, Outcome, Pod, PodContainer, TaskClient, ctr, eventually, faults, patience,
};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long what must work may take, on a busy machine.
const HEALTHY: Duration = Duration::from_secs(60);
/// One try of a client that asks for the end; it asks again. (A kubelet has two minutes, `crictl` two seconds.)
const TRY: Duration = Duration::from_secs(30);
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
        let mut victim = Self { bench, cell, handler, name: name.to_owned(), ctr, pod: None, fuse };
        match cell.subject {
            Subject::StandAlone => victim.bring_up_container()?,
            Subject::Pod => victim.bring_up_pod()?,
        }
        Ok(victim)
    }

    fn bring_up_container(&self) -> Result<()> {
        if self.cell.request.makes_the_container() || self.cell.is_injected_first() {
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

    /// The request, by a client that waits for at most `limit`.
    pub(super) fn ask(&self, limit: Duration) -> Result<()> {
        match (self.cell.request, &self.pod) {
            (Request::None, _) => Ok(()),
            (Request::Shutdown, _) => {
                let client = TaskClient::connect(self.bench.host(), self.ctr.namespace(), self.target())?;
                let shutdown = api::ShutdownRequest { id: self.target().to_owned(), ..Default::default() };
                client.call::<_, api::Empty>("Shutdown", &shutdown, limit)?;
                Ok(())
            }
            (request, Some((_, containers))) => {
                let third = containers.last().context("no third container")?;
                self.ask_cri(request, third, limit)
            }
            (request, None) => self.ask_ctr(request, limit),
        }
    }

    fn ask_ctr(&self, request: Request, limit: Duration) -> Result<()> {
        let id = self.name.as_str();
        let answer: Outcome = match request {
            Request::Create if self.cell.is_itself_stuck() => return self.bare_run(limit),
            Request::Create | Request::Start => return self.run(limit),
            Request::Exec => self.ctr.exec(id, "exec", &["sleep", "100000"], b"", limit)?,
            Request::KillTerm => self.ctr.kill(id, "SIGTERM", limit)?,
            Request::KillKill => self.ctr.kill(id, "SIGKILL", limit)?,
            Request::Delete => self.ctr.delete_task(id, limit)?,
            Request::Stats => self.ctr.call(&["task", "metrics", id], limit)?,
            Request::Shutdown | Request::None => bail!("ctr is not asked for {request}"),
        };
        answer.ok().map(drop)
    }

    fn ask_cri(&self, request: Request, third: &PodContainer, limit: Duration) -> Result<()> {
        const GRACE_S: i64 = 100;
        let cri = self.bench.cri();
        match request {
            Request::Create | Request::Start => cri.start_container_within(third, limit)?,
            Request::Exec => drop(cri.exec(third, &["sleep", "100000"], limit)?),
            Request::KillTerm => cri.stop_container(third, GRACE_S, limit)?,
            // containerd's CRI sends Delete by itself as soon as the container has exited.
            Request::KillKill | Request::Delete => cri.stop_container(third, 0, limit)?,
            Request::Stats => cri.stats(third, limit)?,
            Request::Shutdown | Request::None => {}
        }
        Ok(())
    }

    /// A Create that hangs forever by itself: without a terminal and without the annotation of a pod's first container,
    /// gVisor's shim waits for the end of a pipe that the sandbox keeps open.
    pub(super) fn bare_run(&self, limit: Duration) -> Result<()> {
        self.run_detached(&[], limit)
    }

    fn run_detached(&self, flags: &[&str], limit: Duration) -> Result<()> {
        let command = self.cell.fault.command();
        let outcome = self.ctr.run_detached(&self.handler, flags, &self.name, command, limit)?;
        outcome.ok().map(drop)
    }

    /// One more container in the pod, whose Create is to hang.
    pub(super) fn start_another(&self, limit: Duration) -> Result<()> {
        let (pod, _) = self.pod.as_ref().context("no pod")?;
        let another = self.bench.cri().create_container(pod, "four", 0, &["sleep", "100000"])?;
        self.bench.cri().start_container_within(&another, limit)?;
        Ok(())
    }

    /// Fails unless containerd calls all of it running, and each container runs what it is told to.
    pub(super) fn assert_works(&self) -> Result<()> {
        let tasks = self.ctr.tasks(ANSWER)?;
        for id in self.ids() {
            let running = tasks.iter().any(|task| task.id == id && task.status == "RUNNING" && task.pid > 0);
            ensure!(running, "{id} does not run: {tasks:?}");
        }
        let Some((_, containers)) = &self.pod else {
            let said = self.ctr.exec(&self.name, "works", &["echo", "well"], b"", HEALTHY)?.ok()?;
            ensure!(said == "well\n", "{} says {said:?}", self.name);
            return Ok(());
        };
        for container in containers {
            let said = self.bench.cri().exec(container, &["echo", "well"], HEALTHY)?;
            ensure!(said.stdout == b"well\n", "{} says {said:?}", container.id);
            self.bench.cri().stats(container, ANSWER)?;
        }
        Ok(())
    }

    /// Asks for the end once; whether it has come, or why not.
    pub(super) fn ask_end(&self, left: Duration) -> Result<(), String> {
        let left = left.min(TRY);
        match &self.pod {
            None => {
                let answer =
                    self.ctr.force_delete_task(&self.name, left).map_err(|error| format!("{error:#}"))?;
                if answer.success() || answer.stderr.contains("not found") {
                    return Ok(());
                }
                Err(answer.ok().map_or_else(|error| format!("{error:#}"), |_| String::new()))
            }
            Some((pod, _)) => {
                let stopped = self.bench.cri().stop_pod(pod, left);
                stopped.map_err(|status| format!("StopPodSandbox: {}", status.message()))
            }
        }
    }

    /// After its end: containerd has no task, container or pod of it.
    pub(super) fn forget(&self) -> Result<()> {
        if let Some((pod, _)) = &self.pod {
            // As a kubelet: again and again. What was being started when the pod was stopped has to fail first.
            let mut last = String::new();
            let removed = eventually(ANSWER, "RemovePodSandbox works", || {
                self.bench.cri().remove_pod(pod, ANSWER).map_err(|error| last = format!("{error:#}")).ok()
            });
            removed.context(last)?;
        }
        if self.pod.is_none() && self.ctr.containers()?.contains(&self.name) {
            self.ctr.delete_container(&self.name)?;
        }
        let tasks = self.ctr.tasks(ANSWER)?;
        let ids = self.ids();
        ensure!(!tasks.iter().any(|task| ids.contains(&task.id)), "containerd lists {tasks:?}");
        let containers = self.ctr.containers()?;
        ensure!(!containers.iter().any(|id| ids.contains(id)), "containerd still has {containers:?}");
        if self.pod.is_some() {
            let pods = self.bench.cri().pods(ANSWER)?;
            ensure!(!pods.iter().any(|(id, _)| ids.contains(id)), "containerd lists the pod");
        }
        Ok(())
    }

    /// The same id, or the pod's name, once more.
    pub(super) fn again(&self) -> Result<()> {
        let cri = self.bench.cri();
        if self.pod.is_some() {
            let pod = cri.run_pod(HANDLER, &self.name)?;
            return cri.end_pod(&pod);
        }
        let ctr = &self.ctr;
        ctr.start(&self.handler, &self.name, &["sleep", "100000"])?;
        ctr.force_delete_task(&self.name, patience(HEALTHY))?.ok()?;
        ctr.delete_container(&self.name)
    }
}
