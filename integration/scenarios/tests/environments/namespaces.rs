//! The node's own namespaces, user namespaces, labels: what a pod may ask for, and what gVisor makes of that.

use super::{LIMIT, Running, alike_and_ended, quick};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Host, NodeLink, Outcome, SOON, Transcript,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    run,
    runtime_v1::{IdMapping, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, UserNamespace},
};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

fn context(namespaces: NamespaceOption) -> LinuxSandboxSecurityContext {
    LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() }
}

/// hostNetwork, hostPID and hostIPC: neither the node's links nor its processes are the pod's.
#[test]
fn the_nodes_own_namespaces_outlive_the_pod() -> Result<()> {
    let link = NodeLink::new()?;
    let mut bystander = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
    let ended = alike_and_ended(|_, cri, handler, notes| {
        let node = NamespaceMode::Node.into();
        let namespaces = NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() };
        let pod = cri.run_pod_with(handler, "on-the-node", Some(context(namespaces)))?;
        let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
        let seen = cri.exec(&container, &["sh", "-c", "ps | cat"], SOON)?;
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        // The pod's own processes and no more.
        let sleeps = seen.lines().filter(|line| line.contains("sleep 1000")).count();
        notes.note("processes that sleep", sleeps);
        Ok(Running::of(pod, [container]))
    });
    let lived = bystander.try_wait()?.is_none();
    bystander.kill()?;
    bystander.wait()?;
    ended?;
    ensure!(lived, "a process of the node has ended");
    link.assert_untouched()
}

/// hostUsers: false. containerd pins the user namespace, and gVisor cannot enter one by its path: a clear error, under
/// the guard the same, and nothing left.
#[test]
fn a_pinned_user_namespace_is_refused_alike() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let cri = host.cri()?;
    let told = |handler: &str| -> Result<Transcript> {
        let map = vec![IdMapping { host_id: 200_000, container_id: 0, length: 65_536 }];
        let users = UserNamespace { mode: NamespaceMode::Pod.into(), uids: map.clone(), gids: map };
        let namespaces = NamespaceOption { userns_options: Some(users), ..Default::default() };
        let Err(refused) = cri.run_pod_with(handler, "users", Some(context(namespaces))) else {
            anyhow::bail!("{handler}: gVisor can do it now: test that");
        };
        let text = format!("{:#}", refused.root_cause());
        let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = text.split(|c: char| !c.is_alphanumeric()).find(is_id).context("no id")?.to_owned();
        let mut notes = Transcript::default();
        notes.rename(&id, "POD");
        notes.note("RunPodSandbox", text);
        Ok(notes)
    };
    let unguarded = told("unguarded")?;
    println!("{unguarded}");
    ensure!(unguarded.to_string().contains("error setting namespace of type user"), "{unguarded}");
    let before = Resources::of(&host);
    unguarded.assert_same(&told("guarded")?)?;
    assert_nothing_left(&host, &before, SOON)
}

/// A specification for `ctr run --config`, changed by `change`.
fn spec(host: &Host, change: impl FnOnce(&mut Value)) -> Result<String> {
    let rootfs = host.path().join("plain-rootfs");
    for folder in ["bin", "dev", "proc", "sys", "tmp", "run"] {
        fs::create_dir_all(rootfs.join(folder))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/sleep"))?;
    let mut spec: Value = serde_json::from_str(&host.ctr().call(&["oci", "spec"], SOON)?.ok()?)?;
    spec["root"] = json!({ "path": rootfs });
    spec["process"]["args"] = json!(["/bin/sleep", "1000"]);
    spec["annotations"] = json!({ "io.kubernetes.cri.container-type": "sandbox" });
    spec["linux"]["cgroupsPath"] = json!(format!("/{}/subject", host.tag()));
    change(&mut spec);
    let file = host.path().join("spec.json");
    fs::write(&file, spec.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

/// Runs the container `subject` from such a specification.
fn start(host: &Host, handler: &str, spec: &str) -> Result<Outcome> {
    let handler = host.handler(handler)?;
    let config = host.config_path(&handler);
    let ctr = host.ctr();
    let mut command = ctr.command(&["run", "--detach", "--null-io", "--runtime", handler.runtime_type()]);
    command.arg("--runtime-config-path").arg(config).args(["--config", spec, "subject"]);
    run(&mut command, b"", SOON)
}

/// gVisor ignores an AppArmor profile: such a container runs, and is ended when its sentry is stopped.
#[test]
fn an_apparmor_profile_changes_nothing() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let spec = spec(&host, |spec| spec["process"]["apparmorProfile"] = json!("no-such-profile"))?;
    let ctr = host.ctr();
    start(&host, "unguarded", &spec)?.ok()?;
    ctr.remove("subject")?;
    let before = Resources::of(&host);
    start(&host, "guarded", &spec)?.ok()?;
    Sandbox::of(&host, "subject")?.stop_sentry()?;
    let began = Instant::now();
    ctr.force_delete_task("subject", SOON)?.ok()?;
    ensure!(began.elapsed() <= LIMIT, "the guard was late: {:?}", began.elapsed());
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, SOON)
}

/// gVisor refuses an SELinux label, under the guard in the same words.
#[test]
fn an_selinux_label_is_refused_alike() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let spec =
        spec(&host, |spec| spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"))?;
    let told = |handler: &str| -> Result<Transcript> {
        let mut notes = Transcript::default();
        notes.outcome("run", &start(&host, handler, &spec)?);
        host.ctr().delete_container("subject")?;
        Ok(notes)
    };
    let unguarded = told("unguarded")?;
    println!("{unguarded}");
    ensure!(unguarded.to_string().contains("SELinux is not supported"), "{unguarded}");
    let before = Resources::of(&host);
    unguarded.assert_same(&told("guarded")?)?;
    assert_nothing_left(&host, &before, SOON)
}
