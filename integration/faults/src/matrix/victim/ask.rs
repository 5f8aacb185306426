//! What is asked of containerd about it, by a real client.

use super::{ANSWER, HEALTHY, Victim};
use crate::matrix::{Request, bench::HANDLER};
use anyhow::{Context as _, Result, bail, ensure};
use containerd_shim_protos::api;
use harness::{Outcome, PodContainer, TaskClient, eventually, patience};
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

/// One try of a client that asks for the end; it asks again. (A kubelet has two minutes, `crictl` two seconds.)
const TRY: Duration = Duration::from_secs(30);
/// By so much less than its limit a client may have given up by itself.
const MOMENT: Duration = Duration::from_millis(300);

impl Victim<'_> {
    /// Asks, by a client that waits for at most `limit`; it is noted if that is how long it waited.
    pub(in crate::matrix) fn asked(&self, what: &str, limit: Duration, ask: impl FnOnce() -> Result<()>) {
        let began = Instant::now();
        let answer = ask();
        if began.elapsed() + MOMENT >= limit {
            let said = answer.map_or_else(|error| format!("{error:#}"), |()| "success".to_owned());
            let unanswered = format!("{what} was not answered within {limit:.1?}: {said}");
            self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(unanswered);
        }
    }

    /// The requests that nobody has answered, once all have come back.
    pub(in crate::matrix) fn unanswered(&self) -> Vec<String> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request, by a client that waits for at most `limit`.
    pub(in crate::matrix) fn ask(&self, limit: Duration) -> Result<()> {
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
    pub(in crate::matrix) fn bare_run(&self, limit: Duration) -> Result<()> {
        self.run_detached(&[], limit)
    }

    /// One more container in the pod, whose Create is to hang.
    pub(in crate::matrix) fn start_another(&self, limit: Duration) -> Result<()> {
        let (pod, _) = self.pod.as_ref().context("no pod")?;
        let another = self.bench.cri().create_container(pod, "four", 0, &["sleep", "100000"])?;
        self.bench.cri().start_container_within(&another, limit)?;
        Ok(())
    }

    /// Fails unless containerd calls all of it running, and each container runs what it is told to.
    pub(in crate::matrix) fn assert_works(&self) -> Result<()> {
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
    pub(in crate::matrix) fn ask_end(&self, left: Duration) -> Result<(), String> {
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
    pub(in crate::matrix) fn forget(&self) -> Result<()> {
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
    pub(in crate::matrix) fn again(&self) -> Result<()> {
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
