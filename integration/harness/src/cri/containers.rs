//! The containers of a pod.

use super::{
    Cri, HEALTHY, Pod, PodContainer,
    runtime_v1::{
        ContainerConfig, ContainerMetadata, ContainerStatsRequest, CreateContainerRequest, ExecSyncRequest,
        ExecSyncResponse, ImageSpec, LinuxContainerResources, ListContainersRequest, Mount,
        RemoveContainerRequest, StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest,
    },
};
use crate::patience;
use anyhow::{Context as _, Result};
use std::{path::Path, time::Duration};
use tonic::Status;

impl Cri {
    /// Creates and starts a container.
    pub fn run_container(&self, pod: &Pod, name: &str, command: &[&str]) -> Result<PodContainer> {
        let container = self.create_container(pod, name, 0, command)?;
        self.start_container(&container)?;
        Ok(container)
    }

    /// Creates the container; `attempt` counts its restarts.
    pub fn create_container(
        &self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        command: &[&str],
    ) -> Result<PodContainer> {
        self.create_container_with(pod, name, attempt, command, &[])
    }

    /// The same with volumes, read-only: from a path of the host to one in the container.
    pub fn create_container_with(
        &self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        command: &[&str],
        volumes: &[(&Path, &str)],
    ) -> Result<PodContainer> {
        let mounts = volumes.iter().map(|(host, container)| volume(host, container, true)).collect();
        self.create_container_of(pod, ContainerConfig { mounts, ..container_config(name, attempt, command) })
    }

    /// The same with one volume that it may write to.
    pub fn create_container_writing(
        &self,
        pod: &Pod,
        name: &str,
        command: &[&str],
        (host, container): (&Path, &str),
    ) -> Result<PodContainer> {
        let mounts = vec![volume(host, container, false)];
        self.create_container_of(pod, ContainerConfig { mounts, ..container_config(name, 0, command) })
    }

    /// The same with all that a kubelet may say of a container, see [`container_config`].
    pub fn create_container_of(&self, pod: &Pod, config: ContainerConfig) -> Result<PodContainer> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let answer = self
            .call(request, patience(HEALTHY), |mut client, request| async move {
                client.create_container(request).await
            })
            .context("CreateContainer")?;
        Ok(PodContainer { id: answer.container_id })
    }

    /// StartContainer.
    pub fn start_container(&self, container: &PodContainer) -> Result<()> {
        self.start_container_within(container, patience(HEALTHY)).context("StartContainer")
    }

    /// StartContainer, for at most `limit`.
    pub fn start_container_within(&self, container: &PodContainer, limit: Duration) -> Result<(), Status> {
        let request = StartContainerRequest { container_id: container.id.clone() };
        self.call(request, limit, |mut client, request| async move { client.start_container(request).await })
            .map(drop)
    }

    /// ContainerStats.
    pub fn stats(&self, container: &PodContainer, limit: Duration) -> Result<(), Status> {
        let request = ContainerStatsRequest { container_id: container.id.clone() };
        self.call(request, limit, |mut client, request| async move { client.container_stats(request).await })
            .map(drop)
    }

    /// ExecSync.
    pub fn exec(
        &self,
        container: &PodContainer,
        command: &[&str],
        limit: Duration,
    ) -> Result<ExecSyncResponse, Status> {
        let request = ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 0,
        };
        self.call(request, limit, |mut client, request| async move { client.exec_sync(request).await })
    }

    /// StopContainer: the stop signal, `grace` seconds, SIGKILL.
    pub fn stop_container(
        &self,
        container: &PodContainer,
        grace: i64,
        limit: Duration,
    ) -> Result<(), Status> {
        let request = StopContainerRequest { container_id: container.id.clone(), timeout: grace };
        self.call(request, limit, |mut client, request| async move { client.stop_container(request).await })
            .map(drop)
    }

    /// RemoveContainer.
    pub fn remove_container(&self, container: &PodContainer, limit: Duration) -> Result<(), Status> {
        let request = RemoveContainerRequest { container_id: container.id.clone() };
        self.call(request, limit, |mut client, request| async move { client.remove_container(request).await })
            .map(drop)
    }

    /// Ids of the containers that containerd knows, with their state (1 is running, 2 exited).
    pub fn containers(&self, limit: Duration) -> Result<Vec<(String, i32)>, Status> {
        let answer =
            self.call(ListContainersRequest::default(), limit, |mut client, request| async move {
                client.list_containers(request).await
            })?;
        Ok(answer.containers.into_iter().map(|container| (container.id, container.state)).collect())
    }

    /// UpdateContainerResources, to a CPU share.
    pub fn update(&self, container: &PodContainer, cpu_shares: i64, limit: Duration) -> Result<(), Status> {
        let request = UpdateContainerResourcesRequest {
            container_id: container.id.clone(),
            linux: Some(LinuxContainerResources { cpu_shares, ..Default::default() }),
            ..Default::default()
        };
        self.call(request, limit, |mut client, request| async move {
            client.update_container_resources(request).await
        })
        .map(drop)
    }
}

fn volume(host: &Path, container: &str, readonly: bool) -> Mount {
    Mount {
        host_path: host.to_string_lossy().into_owned(),
        container_path: container.to_owned(),
        readonly,
        ..Default::default()
    }
}

/// A container of the image that every scenario runs.
pub fn container_config(name: &str, attempt: u32, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt }),
        image: Some(ImageSpec { image: crate::image::NAME.to_owned(), ..Default::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}-{attempt}.log"),
        ..Default::default()
    }
}
