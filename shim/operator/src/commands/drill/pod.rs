//! A throw-away pod by CRI: its sandbox alone, without a container. That needs no image but the pause image, which
//! containerd itself sees to. It has no pod network: no address is taken, and no CNI plugin is run.

use std::time::Duration;

use runsc_guard_proto::cri::runtime_service_client::RuntimeServiceClient;
use runsc_guard_proto::cri::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListPodSandboxRequest, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest,
    StopPodSandboxRequest, VersionRequest,
};
use tonic::{Code, Status};

use super::room::{NAME, SHORT};
use crate::containerd::client::Client;

/// containerd's namespace for all pods.
pub(super) const NAMESPACE: &str = "k8s.io";

/// Whether there is a CRI.
pub(super) fn is_there(client: &Client) -> Result<bool, Status> {
    let asked = client.call(VersionRequest::default(), SHORT, |channel, request| async move {
        RuntimeServiceClient::new(channel).version(request).await
    });
    match asked {
        Err(status) if status.code() == Code::Unimplemented => Ok(false),
        other => other.map(|_| true),
    }
}

/// Starts one with this uid; its id. `systemd`: runsc has its cgroups made by systemd.
pub(super) fn start(
    client: &Client,
    uid: &str,
    handler: &str,
    systemd: bool,
    limit: Duration,
) -> Result<String, Status> {
    // What runsc makes of the node's network namespace is an empty one of its own (runsc/sandbox, `createSandboxProcess`).
    let network = NamespaceMode::Node.into();
    let namespace_options = Some(NamespaceOption { network, ..NamespaceOption::default() });
    let security_context = Some(LinuxSandboxSecurityContext { namespace_options, ..Default::default() });
    // CRI gives a sandbox the least of the processor that there is (2 shares). Beside the node's own groups it would
    // starve where these are busy, and not in a group of which it is the only one.
    let cgroup_parent = if systemd { "system.slice".to_owned() } else { format!("/{uid}") };
    let config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: NAME.to_owned(),
            uid: uid.to_owned(),
            namespace: NAME.to_owned(),
            attempt: 0,
        }),
        hostname: NAME.to_owned(),
        linux: Some(LinuxPodSandboxConfig { cgroup_parent, security_context, ..Default::default() }),
        ..PodSandboxConfig::default()
    };
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
    let answer = client.call(request, limit, |channel, request| async move {
        RuntimeServiceClient::new(channel).run_pod_sandbox(request).await
    })?;
    Ok(answer.pod_sandbox_id)
}

/// Those with this uid that containerd knows. Nobody else can have given it: it is random, and stands in a folder of
/// root's.
pub(super) fn ids(client: &Client, uid: &str) -> Result<Vec<String>, Status> {
    let answer = client.call(ListPodSandboxRequest::default(), SHORT, |channel, request| async move {
        RuntimeServiceClient::new(channel).list_pod_sandbox(request).await
    });
    let pods = match answer {
        Err(status) if status.code() == Code::Unimplemented => return Ok(Vec::new()),
        other => other?.items,
    };
    let is_ours = |metadata: &PodSandboxMetadata| metadata.uid == uid && metadata.namespace == NAME;
    Ok(pods.into_iter().filter(|pod| pod.metadata.as_ref().is_some_and(is_ours)).map(|pod| pod.id).collect())
}

/// Asks for its end, as a kubelet does.
pub(super) fn stop(client: &Client, id: &str, limit: Duration) -> Result<(), Status> {
    let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    let answer = client.call(request, limit, |channel, request| async move {
        RuntimeServiceClient::new(channel).stop_pod_sandbox(request).await
    });
    answer.map(drop)
}

/// Has containerd forget it.
pub(super) fn remove(client: &Client, id: &str) -> Result<(), Status> {
    let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    let answer = client.call(request, SHORT, |channel, request| async move {
        RuntimeServiceClient::new(channel).remove_pod_sandbox(request).await
    });
    answer.map(drop)
}
