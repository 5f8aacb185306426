//! A kubelet's view: the CRI client. Blocking, each call with its own timeout, as the tests want it.

mod containers;

use crate::{patience, traces};
use anyhow::{Context as _, Result};
use runtime_v1::runtime_service_client::RuntimeServiceClient;
use runtime_v1::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListPodSandboxRequest, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest,
    StopPodSandboxRequest,
};
use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::{Request, Response, Status, transport::Channel};

pub use runsc_guard_proto::cri as runtime_v1;

pub use containers::container_config;

/// How long a call that must work may take: what a kubelet gives it.
const HEALTHY: Duration = Duration::from_secs(120);

/// A pod that this client made: what a kubelet remembers of one.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The id that containerd gave it.
    pub id: String,
    config: PodSandboxConfig,
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct PodContainer {
    /// The id that containerd gave it.
    pub id: String,
}

/// A CRI client of one host.
#[derive(Debug)]
pub struct Cri {
    runtime: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
    tag: String,
}

impl Cri {
    pub(crate) fn connect(socket: &Path, tag: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let address = format!("unix://{}", socket.display());
        let channel = runtime
            .block_on(tonic::transport::Endpoint::from_shared(address)?.connect())
            .context("cannot connect to CRI")?;
        Ok(Self { runtime, client: RuntimeServiceClient::new(channel), tag: tag.to_owned() })
    }

    /// Any call of the CRI, for at most `limit`: the client both tells the server so and stops waiting.
    pub fn call<Q, A, F>(
        &self,
        request: Q,
        limit: Duration,
        call: impl FnOnce(RuntimeServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(request);
        request.set_timeout(limit);
        let answer = call(self.client.clone(), request);
        self.runtime.block_on(async {
            match tokio::time::timeout(limit + Duration::from_millis(500), answer).await {
                Ok(answer) => answer.map(Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))),
            }
        })
    }

    /// Makes the pod's cgroup, as a kubelet does, and runs the pod.
    pub fn run_pod(&self, handler: &str, name: &str) -> Result<Pod> {
        self.run_pod_with(handler, name, None)
    }

    /// The same on the node's own network.
    pub fn run_pod_on_host_network(&self, handler: &str, name: &str) -> Result<Pod> {
        let network = NamespaceMode::Node.into();
        let namespace_options = Some(NamespaceOption { network, ..Default::default() });
        let context = LinuxSandboxSecurityContext { namespace_options, ..Default::default() };
        self.run_pod_with(handler, name, Some(context))
    }

    /// The same with what a pod may want of the node: its namespaces, its user ids.
    pub fn run_pod_with(
        &self,
        handler: &str,
        name: &str,
        security_context: Option<LinuxSandboxSecurityContext>,
    ) -> Result<Pod> {
        let parent = format!("/{}/pod-{name}", self.tag);
        for hierarchy in traces::hierarchies() {
            let folder = hierarchy.join(parent.trim_start_matches('/'));
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            prepare_cpuset(&hierarchy, &folder)?;
        }
        self.run_pod_below(parent, handler, name, security_context)
    }

    /// The same for a runtime that has systemd make its cgroups: below a slice, which is systemd's to make and to remove.
    pub fn run_pod_in_slice(&self, handler: &str, name: &str) -> Result<Pod> {
        self.run_pod_below(format!("/{}.slice", self.tag), handler, name, None)
    }

    fn run_pod_below(
        &self,
        parent: String,
        handler: &str,
        name: &str,
        security_context: Option<LinuxSandboxSecurityContext>,
    ) -> Result<Pod> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: self.uid(name),
                namespace: "tests".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: parent,
                security_context,
                ..Default::default()
            }),
            ..Default::default()
        };
        let request =
            RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        let answer = self
            .call(request, patience(HEALTHY), |mut client, request| async move {
                client.run_pod_sandbox(request).await
            })
            .with_context(|| format!("RunPodSandbox {name}"))?;
        Ok(Pod { id: answer.pod_sandbox_id, config })
    }

    /// Where a kubelet mounts the volume `name` of the pod that is going to be called `pod`: below the folder of
    /// the host, as it is below /var/lib/kubelet.
    pub fn volume(&self, pod: &str, name: &str) -> PathBuf {
        Path::new("pods").join(self.uid(pod)).join("volumes").join(name)
    }

    fn uid(&self, pod: &str) -> String {
        format!("{}-{pod}", self.tag)
    }

    /// StopPodSandbox, once. A kubelet repeats it until it works.
    pub fn stop_pod(&self, pod: &Pod, limit: Duration) -> Result<(), Status> {
        self.stop_pod_by_id(&pod.id, limit)
    }

    /// StopPodSandbox for a pod of which only the id is known.
    pub fn stop_pod_by_id(&self, id: &str, limit: Duration) -> Result<(), Status> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.call(request, limit, |mut client, request| async move { client.stop_pod_sandbox(request).await })
            .map(drop)
    }

    /// RemovePodSandbox, and then the pod's cgroup, as a kubelet does: one that is still in use is an error.
    pub fn remove_pod(&self, pod: &Pod, limit: Duration) -> Result<()> {
        self.remove_pod_by_id(&pod.id, limit)?;
        let parent = pod.config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str());
        match parent.unwrap_or_default() {
            slice if slice.ends_with(".slice") => Ok(()),
            parent => Self::remove_pod_cgroup(parent),
        }
    }

    /// RemovePodSandbox for a pod of which only the id is known.
    pub fn remove_pod_by_id(&self, id: &str, limit: Duration) -> Result<(), Status> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.call(
            request,
            limit,
            |mut client, request| async move { client.remove_pod_sandbox(request).await },
        )
        .map(drop)
    }

    /// Removes a pod's cgroup, in every hierarchy.
    pub fn remove_pod_cgroup(parent: &str) -> Result<()> {
        for hierarchy in traces::hierarchies() {
            let folder = hierarchy.join(parent.trim_start_matches('/'));
            if folder.is_dir() {
                std::fs::remove_dir(&folder).with_context(|| format!("pod cgroup {}", folder.display()))?;
            }
        }
        Ok(())
    }

    /// Stops and removes, as one does with a healthy pod.
    pub fn end_pod(&self, pod: &Pod) -> Result<()> {
        self.stop_pod(pod, patience(HEALTHY)).context("StopPodSandbox")?;
        self.remove_pod(pod, patience(HEALTHY)).context("RemovePodSandbox")
    }

    /// Ids of the pods that containerd knows, with their state (0 is ready).
    pub fn pods(&self, limit: Duration) -> Result<Vec<(String, i32)>, Status> {
        let answer =
            self.call(ListPodSandboxRequest::default(), limit, |mut client, request| async move {
                client.list_pod_sandbox(request).await
            })?;
        Ok(answer.items.into_iter().map(|pod| (pod.id, pod.state)).collect())
    }

    /// Ids and names of the pods that containerd knows.
    pub fn named_pods(&self, limit: Duration) -> Result<Vec<(String, String)>, Status> {
        let answer =
            self.call(ListPodSandboxRequest::default(), limit, |mut client, request| async move {
                client.list_pod_sandbox(request).await
            })?;
        let name = |pod: &runtime_v1::PodSandbox| pod.metadata.as_ref().map(|meta| meta.name.clone());
        Ok(answer.items.iter().map(|pod| (pod.id.clone(), name(pod).unwrap_or_default())).collect())
    }
}

/// A version 1 cpuset takes no process before it has processors and memory.
fn prepare_cpuset(hierarchy: &Path, folder: &Path) -> Result<()> {
    let mut chain: Vec<&Path> = folder.ancestors().take_while(|path| *path != hierarchy).collect();
    chain.reverse();
    for path in chain {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (own, above) = (path.join(file), path.with_file_name(file));
            // With version 2 an empty one is the parent's, and the root has none.
            if own.exists() && above.exists() && std::fs::read_to_string(&own)?.trim().is_empty() {
                std::fs::write(&own, std::fs::read_to_string(above)?)?;
            }
        }
    }
    Ok(())
}
