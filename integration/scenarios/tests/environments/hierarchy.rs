//! Nodes of another make: one whose only cgroup hierarchy is version 2, one that is itself a container.

use super::{Running, quick};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Parts, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    process::Process,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A host whose containerd runs in namespaces of its own, made by `unshare` with these arguments.
fn host_within(folder: &Path, arguments: &str, handler: Handler) -> Result<Host> {
    let pinned = Parts::pinned()?;
    let containerd = folder.join("containerd");
    let real = pinned.containerd.display();
    harness::write_script(&containerd, &format!("#!/bin/sh\nexec unshare {arguments} {real} \"$@\"\n"))?;
    Host::builder().parts(Parts { containerd, ..pinned }).handler(handler).start()
}

/// What of the host is mounted where its containerd is. The test itself does not see it.
fn mounts_within(host: &Host) -> Result<BTreeSet<String>> {
    let all = host.processes();
    let real = |p: &&Process| p.args.first().is_some_and(|arg| arg.ends_with("/containerd"));
    let containerd = all.iter().find(real).context("no containerd")?;
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", containerd.pid))?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
    Ok(points.filter(|at| at.contains(host.tag()) && !at.ends_with("null-netns")).collect())
}

/// As in a node that kind makes: processes, mounts and cgroups are seen from within a container.
#[test]
fn a_node_that_is_a_container() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments = "--mount --pid --cgroup --ipc --uts --fork --kill-child --mount-proc";
    let host = host_within(folder.path(), arguments, quick("guarded"))?;
    let (cri, before, mounts) = (host.cri()?, Resources::of(&host), mounts_within(&host)?);
    for wedged in [false, true] {
        let pod = cri.run_pod("guarded", "subject")?;
        let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
        ensure!(mounts_within(&host)? != mounts, "its mounts are not seen");
        if wedged {
            Running::of(pod, [container]).end_stopped(&host, &cri)?;
        } else {
            cri.end_pod(&pod)?;
        }
        assert_nothing_left(&host, &before, SOON)?;
        ensure!(mounts_within(&host)? == mounts, "{mounts:?} are now {:?}", mounts_within(&host)?);
    }
    Ok(())
}

/// A version 2 cgroup with a sandbox in it, where runsc would have put that; gone with the value.
struct Group(PathBuf);

impl Group {
    fn around(host: &Host, sandbox: &Sandbox) -> Result<Self> {
        let group = Self(Path::new("/sys/fs/cgroup/unified").join(host.tag()).join("sandbox"));
        fs::create_dir_all(&group.0)?;
        for process in sandbox.stubs().iter().chain([&sandbox.sentry]) {
            fs::write(group.0.join("cgroup.procs"), process.pid.to_string())?;
        }
        Ok(group)
    }

    fn freeze(&self) -> Result<()> {
        fs::write(self.0.join("cgroup.freeze"), "1")?;
        eventually(SOON, "frozen", || {
            let events = fs::read_to_string(self.0.join("cgroup.events")).ok()?;
            events.contains("frozen 1").then_some(())
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Only the version 2 hierarchy is there, and the sandbox is frozen in it. runsc itself wants controllers in that
/// hierarchy, which a node with version 1 cannot give twice: its own cgroups are left out, and with them the pod's
/// containers, for which it insists on them.
#[test]
fn a_node_with_version_2_only() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments =
        "--mount sh -c 'mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec \"$0\" \"$@\"'";
    let handler = quick("guarded").runsc_flag("ignore-cgroups", "true");
    let host = host_within(folder.path(), arguments, handler)?;
    let (cri, before, mounts) = (host.cri()?, Resources::of(&host), mounts_within(&host)?);
    let pod = cri.run_pod("guarded", "subject")?;
    let group = Group::around(&host, &Sandbox::of(&host, &pod.id)?)?;
    group.freeze()?;
    Running::of(pod, []).end_wedged(&cri)?;
    drop(group);
    assert_nothing_left(&host, &before, SOON)?;
    ensure!(mounts_within(&host)? == mounts, "{mounts:?} are now {:?}", mounts_within(&host)?);
    Ok(())
}
