//! What the extension does to a node: its part of the CRI configuration in a real containerd, and the operator's command
//! from a pod.

use super::{BINARIES, built, extension, listing};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Parts, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    run,
    talos::{self, Image},
};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// The parts of a node: what Talos has of its own, the gvisor extension's, the built extension's, byte for byte, and the
/// owner's.
fn parts(folder: &Path, owners: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let ours = extension("amd64")?.join("rootfs/etc/cri/conf.d/15-runsc-guard.part");
    std::fs::copy(ours, folder.join("15-runsc-guard.part"))?;
    for (name, text) in
        [("00-base.part", BASE), ("10-gvisor.part", GVISOR), ("20-customization.part", owners)]
    {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Of the same kind as Talos' own.
const BASE: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images"]
  discard_unpacked_layers = true
[plugins."io.containerd.cri.v1.runtime"]
  enable_cdi = true
  cdi_spec_dirs = ["/run/cdi"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  ShimCgroup = "/podruntime/shim"
"#;

/// What the gvisor extension configures.
const GVISOR: &str = r#"[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc.options]
  TypeUrl = "io.containerd.runsc.v1.options"
  ConfigPath = "/etc/cri/conf.d/runsc.toml"
"#;

/// Tables that several parts have are merged, and the later part wins: hence our number, below the owner's.
#[test]
fn the_owner_has_the_last_word() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let theirs = r#"[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc-guard.options]
  ConfigPath = "/var/runsc-guard.toml"
"#;
    parts(scratch.path(), theirs)?;
    let merged = talos::merge(scratch.path())?;
    ensure!(merged.contains("/var/runsc-guard.toml"), "{merged}");
    ensure!(!merged.contains("/etc/cri/conf.d/runsc-guard.toml"), "{merged}");
    ensure!(merged.contains("io.containerd.runsc-guard.v2"), "the rest of our table is gone: {merged}");

    std::fs::rename(
        scratch.path().join("20-customization.part"),
        scratch.path().join("05-customization.part"),
    )?;
    let merged = talos::merge(scratch.path())?;
    ensure!(!merged.contains("/var/runsc-guard.toml"), "an earlier part has won: {merged}");
    Ok(())
}

/// A node's containerd: its configuration is merged of Talos' kind of base, the gvisor extension's part, ours and the
/// owner's; shim and operator's command are the image's.
///
/// Relocated, all of it by the owner's parts: ConfigPath, since /etc/cri/conf.d is not ours to write; in the file that it
/// names then, which begins with the extension's own, runsc's root and `report_dir`; containerd's folders, socket and CNI.
fn node() -> Result<Host> {
    let rootfs = extension("amd64")?.join("rootfs");
    let pinned = Parts::pinned()?;
    let guard = rootfs.join("usr/local/bin").join(BINARIES[0]);
    let host =
        Host::builder().parts(Parts { guard, unguarded_shim: pinned.real_shim.clone(), ..pinned }).start()?;
    let at = |name: &str| host.path().join(name);

    let shipped = std::fs::read_to_string(rootfs.join("etc/cri/conf.d/runsc-guard.toml"))?;
    let theirs = format!(
        "root = {:?}\n{shipped}report_dir = {:?}\nkill_deadline = \"{}s\"\n",
        at("r"),
        at("reports"),
        DEADLINE.as_secs()
    );
    std::fs::write(at("runsc-guard.toml"), theirs)?;
    let options = format!(
        "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runsc-guard.options]\nConfigPath = {:?}\n",
        at("runsc-guard.toml")
    );
    parts(&at("conf.d"), &options)?;
    std::fs::rename(at("containerd.toml"), at("conf.d/20-this-machine.part"))?;
    std::fs::write(at("containerd.toml"), talos::merge(&at("conf.d"))?)?;
    host.restart_containerd()?;
    Ok(host)
}

/// The owner's `kill_deadline`; what one State question and the escalation may add to it.
const DEADLINE: Duration = Duration::from_secs(2);
const BEYOND: Duration = Duration::from_secs(3);

#[test]
fn its_part_makes_containerd_run_pods_that_end() -> Result<()> {
    let host = node()?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = cri.run_pod("runsc-guard", "pod")?;
    let container = cri.run_container(&pod, "c", &["sleep", "100000"])?;
    let said = cri.exec(&container, &["echo", "well"], SOON)?;
    ensure!(said.stdout == b"well\n", "{said:?}");
    let sandbox = Sandbox::of(&host, &pod.id)?;
    let guard = sandbox.guard.as_ref().context("the handler runsc-guard has no guard")?;
    let running = std::fs::read_link(format!("/proc/{}/exe", guard.pid))?;
    ensure!(running.starts_with(extension("amd64")?), "another guard runs: {}", running.display());

    sandbox.stop_sentry()?;
    let began = Instant::now();
    eventually(SOON, "the pod ends", || cri.stop_pod(&pod, SOON).ok())?;
    ensure!(began.elapsed() <= DEADLINE + BEYOND, "it ended after {:?}", began.elapsed());
    cri.remove_pod(&pod, SOON)?;
    assert_nothing_left(&host, &before, SOON)?;

    // All that its owner has of the node is `talosctl logs cri` and `talosctl read`: the former must lead to the latter.
    let line = eventually(SOON, "containerd's log names the report", || {
        let ours = |line: &&str| line.contains(&pod.id) && line.contains(" report=");
        host.log().lines().find(ours).map(str::to_owned)
    })?;
    let path =
        line.split(" report=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let path = Path::new(path.trim_matches('"'));
    ensure!(path.parent() == Some(&host.path().join("reports")), "{line}");
    let report = std::fs::read_to_string(path).with_context(|| line.clone())?;
    ensure!(report.contains(&pod.id), "{line}: {report}");
    Ok(())
}

/// A node has no shell, and before the extension is installed no `runsc-guard`: it comes in a privileged pod with the
/// node's process ids, whose own file system has nothing else.
#[test]
fn from_a_pod_the_operator_ends_what_is_stuck() -> Result<()> {
    let host = Host::with([Handler::unguarded("h")])?;
    let before = Resources::of(&host);
    host.ctr().start(&host.handler("h")?, "stuck", &["sleep", "100000"])?;
    let stuck = Sandbox::of(&host, "stuck")?;
    stuck.stop_sentry()?;

    let images = Image::all(&built()?.join("operator"))?;
    let image =
        images.iter().find(|image| image.architecture == "amd64").context("no image for this machine")?;
    ensure!(image.config["config"]["Entrypoint"] == serde_json::json!(["/runsc-guard"]), "{}", image.config);
    let root = host.path().join("pod");
    image.unpack(&root)?;
    ensure!(listing(&root)? == ["runsc-guard f 755"], "{:?}", listing(&root)?);
    let reports = host.path().join("reports");
    // Process 1 of a machine of tests need not let itself be looked at; containerd sees the same.
    let node = format!("--host={}", host.containerd()?.pid);
    let reap = [&node, "--namespace", host.tag(), "reap", "--wedged", "--yes", "--report-dir"];
    // What a runtime makes of such a pod: its own mounts, with /proc, and its own cgroup namespace.
    let script =
        r#"mkdir "$1/proc" && mount --rbind /proc "$1/proc" && root=$1 && shift && exec chroot "$root" "$@""#;
    let mut pod = Command::new("unshare");
    pod.args(["--mount", "--cgroup", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&root);
    pod.arg("/runsc-guard").args(reap).arg(&reports);
    let outcome = run(&mut pod, b"", SOON)?;
    println!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.success() && !stuck.sentry.is_alive(), "{outcome:?}");
    ensure!(std::fs::read_dir(&reports)?.count() > 0, "no report on the node");

    eventually(SOON, "containerd lets go of it", || {
        host.ctr().delete_task("stuck", SOON).ok()?;
        host.ctr().delete_container("stuck").ok()
    })?;
    assert_nothing_left(&host, &before, SOON)
}
