//! Whoever owns a pod is told why its containers ended: each one that the guard ends has a line in its termination
//! message before its exit is told, and what ended by itself has none. The kubelet's own way with it is in `kubelet`.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Host, Pod, PodContainer, SOON, container_config, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    runtime_v1::{ContainerConfig, Mount},
};
use std::path::{Path, PathBuf};

const POD: &str = "told";

/// The file of a container, where a kubelet whose folder is the host's makes it.
fn file(host: &Host, cri: &Cri, name: &str) -> Result<PathBuf> {
    let volume = host.path().join("kubelet").join(cri.volume(POD, "v"));
    let pod = volume.ancestors().nth(2).context("no folder of a pod")?;
    Ok(pod.join("containers").join(name).join("0a1b2c3d"))
}

fn run(cri: &Cri, pod: &Pod, name: &str, file: &Path, command: &[&str]) -> Result<PodContainer> {
    let mount = Mount {
        host_path: file.to_string_lossy().into_owned(),
        container_path: "/dev/termination-log".to_owned(),
        ..Default::default()
    };
    let config = ContainerConfig { mounts: vec![mount], ..container_config(name, 0, command) };
    let container = cri.create_container_of(pod, config)?;
    cri.start_container(&container)?;
    Ok(container)
}

#[test]
fn who_is_ended_by_the_guard_is_told_why_and_nobody_else() -> Result<()> {
    const SLEEP: &[&str] = &["sleep", "100000"];
    let host = Host::guarded("2s")?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pod = cri.run_pod("guarded", POD)?;
    let files = ["first", "second", "itself", "wrote"].map(|name| (name, file(&host, &cri, name)));
    let mut all = Vec::new();
    for (name, path) in files {
        let path = path?;
        std::fs::create_dir_all(path.with_file_name(""))?;
        std::fs::write(&path, "")?;
        let command: &[&str] = match name {
            "itself" => &["sh", "-c", "exit 3"],
            "wrote" => &["sh", "-c", "echo mine > /dev/termination-log; exec sleep 100000"],
            _ => SLEEP,
        };
        all.push((run(&cri, &pod, name, &path, command)?, path));
    }
    let ended = all[2].0.id.clone();
    eventually(SOON, "one has ended by itself", || {
        cri.containers(SOON).ok()?.contains(&(ended.clone(), 2)).then_some(())
    })?;
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually(SOON, "one has written its own", || (read(&all[3].1) == "mine\n").then_some(()))?;
    Sandbox::of(&host, &pod.id)?.stop_sentry()?;
    eventually(SOON, "the pod stops", || cri.stop_pod(&pod, SOON).ok())?;
    for (_, path) in &all[..2] {
        let told = read(path);
        println!("{}: {told}", path.display());
        ensure!(
            told.starts_with("runsc-guard ended this pod's gVisor sandbox: SIGKILL was not answered, since "),
            "{told}"
        );
        ensure!(told.len() <= 300 && !told.contains('\n'), "{told}");
    }
    ensure!(read(&all[2].1).is_empty(), "what ended by itself was told: {}", read(&all[2].1));
    ensure!(read(&all[3].1) == "mine\n", "what was there is gone: {}", read(&all[3].1));
    for (container, _) in &all {
        cri.remove_container(container, SOON)?;
    }
    cri.remove_pod(&pod, SOON)?;
    assert_nothing_left(&host, &before, SOON)
}
