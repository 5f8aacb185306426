//! A throw-away task by containerd's own API, where there is no CRI: in a namespace of its own, and without an image. Its
//! root file system is a folder of this command's, with one program that does nothing.

use std::path::Path;
use std::time::Duration;

use runsc_guard_proto::api::services::containers::v1::containers_client::ContainersClient;
use runsc_guard_proto::api::services::containers::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, container::Runtime,
};
use runsc_guard_proto::api::services::namespaces::v1::namespaces_client::NamespacesClient;
use runsc_guard_proto::api::services::namespaces::v1::{
    CreateNamespaceRequest, DeleteNamespaceRequest, Namespace,
};
use runsc_guard_proto::api::services::tasks::v1::tasks_client::TasksClient;
use runsc_guard_proto::api::services::tasks::v1::{
    CreateTaskRequest, DeleteTaskRequest, KillRequest, StartRequest, WaitRequest,
};
use runsc_guard_proto::api::types::Mount;
use runsc_guard_proto::protobuf::Message as _;
use runsc_guard_proto::runtimeoptions::Options;
use serde_json::json;
use tonic::{Code, Status};

use super::room::{NAME, PROGRAM, SHORT};
use crate::containerd::client::Client;
use crate::containerd::files::TYPE_URL;

/// containerd's namespace for these.
pub(super) const NAMESPACE: &str = NAME;

/// What kind of task.
pub(super) struct Wanted<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// containerd's name of its shim.
    pub(super) runtime_type: &'a str,
    /// The shim's configuration.
    pub(super) config_path: Option<&'a Path>,
    /// runsc has its cgroups made by systemd.
    pub(super) systemd: bool,
    /// Its root file system.
    pub(super) rootfs: &'a Path,
}

/// Starts one.
pub(super) fn start(client: &Client, wanted: &Wanted<'_>, limit: Duration) -> Result<(), Status> {
    let namespace = Namespace { name: NAMESPACE.to_owned(), ..Namespace::default() };
    let request = CreateNamespaceRequest { namespace: Some(namespace) };
    let made = client.call(request, SHORT, |channel, request| async move {
        NamespacesClient::new(channel).create(request).await
    });
    unless(Code::AlreadyExists, made.map(drop))?;
    let request = CreateContainerRequest { container: Some(container(wanted)?) };
    client.call(request, SHORT, |channel, request| async move {
        ContainersClient::new(channel).create(request).await
    })?;
    let rootfs = Mount {
        r#type: "bind".to_owned(),
        source: wanted.rootfs.to_string_lossy().into_owned(),
        options: vec!["rbind".to_owned(), "ro".to_owned()],
        ..Mount::default()
    };
    let container_id = wanted.id.to_owned();
    let request = CreateTaskRequest { container_id, rootfs: vec![rootfs], ..CreateTaskRequest::default() };
    client.call(request, limit, |channel, request| async move {
        TasksClient::new(channel).create(request).await
    })?;
    let request = StartRequest { container_id: wanted.id.to_owned(), ..StartRequest::default() };
    let started = client.call(request, limit, |channel, request| async move {
        TasksClient::new(channel).start(request).await
    });
    started.map(drop)
}

fn container(wanted: &Wanted<'_>) -> Result<Container, Status> {
    let options = wanted.config_path.map(|path| Options {
        type_url: TYPE_URL.to_owned(),
        config_path: path.to_string_lossy().into_owned(),
        ..Options::default()
    });
    let options = options.map(|options| options.write_to_bytes()).transpose();
    let options = options.map_err(|error| Status::internal(error.to_string()))?;
    let any = |type_url: &str, value| prost_types::Any { type_url: type_url.to_owned(), value };
    Ok(Container {
        id: wanted.id.to_owned(),
        runtime: Some(Runtime {
            name: wanted.runtime_type.to_owned(),
            options: options.map(|value| any("runtimeoptions.v1.Options", value)),
        }),
        spec: Some(any("types.containerd.io/opencontainers/runtime-spec/1/Spec", spec(wanted))),
        ..Container::default()
    })
}

/// The smallest that gVisor takes, alone in every respect.
fn spec(wanted: &Wanted<'_>) -> Vec<u8> {
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    let cgroup = if wanted.systemd { "system.slice:runsc-guard:" } else { "/" };
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": [format!("/{PROGRAM}")], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": true,
        },
        // Read-only: nothing is written beside what the next drill has to remove.
        "root": { "path": "rootfs", "readonly": true },
        "hostname": NAME,
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        // Without it the shim's Create waits for the end of the pipe that it gives to the sandbox.
        "annotations": { "io.kubernetes.cri.container-type": "sandbox" },
        "linux": { "namespaces": namespaces, "cgroupsPath": format!("{cgroup}{}", wanted.id) },
    });
    spec.to_string().into_bytes()
}

/// This one, if containerd knows it.
pub(super) fn ids(client: &Client, id: &str) -> Result<Vec<String>, Status> {
    let request = GetContainerRequest { id: id.to_owned() };
    let answer = client.call(request, SHORT, |channel, request| async move {
        ContainersClient::new(channel).get(request).await
    });
    match answer {
        Err(status) if status.code() == Code::NotFound => Ok(Vec::new()),
        other => other.map(|_| vec![id.to_owned()]),
    }
}

/// Asks for its end, and waits for it.
pub(super) fn stop(client: &Client, id: &str, limit: Duration) -> Result<(), Status> {
    let container_id = id.to_owned();
    let kill = KillRequest { container_id, signal: libc::SIGKILL.unsigned_abs(), ..KillRequest::default() };
    let asked = client
        .call(kill, limit, |channel, request| async move { TasksClient::new(channel).kill(request).await });
    unless(Code::NotFound, asked.map(drop))?;
    let wait = WaitRequest { container_id: id.to_owned(), ..WaitRequest::default() };
    let exit = client
        .call(wait, limit, |channel, request| async move { TasksClient::new(channel).wait(request).await });
    unless(Code::NotFound, exit.map(drop))
}

/// Has containerd forget it, and the namespace with the last one.
pub(super) fn remove(client: &Client, id: &str) -> Result<(), Status> {
    let request = DeleteTaskRequest { container_id: id.to_owned() };
    let deleted = client.call(request, SHORT, |channel, request| async move {
        TasksClient::new(channel).delete(request).await
    });
    unless(Code::NotFound, deleted.map(drop))?;
    let request = DeleteContainerRequest { id: id.to_owned() };
    let deleted = client.call(request, SHORT, |channel, request| async move {
        ContainersClient::new(channel).delete(request).await
    });
    unless(Code::NotFound, deleted.map(drop))?;
    let request = DeleteNamespaceRequest { name: NAMESPACE.to_owned() };
    // Another one may still be in it.
    let _ = client.call(request, SHORT, |channel, request| async move {
        NamespacesClient::new(channel).delete(request).await
    });
    Ok(())
}

fn unless(fine: Code, result: Result<(), Status>) -> Result<(), Status> {
    result.or_else(|status| if status.code() == fine { Ok(()) } else { Err(status) })
}
