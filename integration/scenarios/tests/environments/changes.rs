//! What changes under running pods: the configuration, every binary, the room for reports.

use super::{Running, quick, state};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Host, Parts, SOON, Versions, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::Signal,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn pod(cri: &Cri, name: &str) -> Result<Running> {
    let pod = cri.run_pod("guarded", name)?;
    let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
    Ok(Running::of(pod, [container]))
}

/// Its guard is killed while its sentry is stopped: what is left is for containerd's `delete` to finish.
fn orphan(host: &Host, running: &Running, cri: &Cri) -> Result<()> {
    let sandbox = Sandbox::of(host, &running.pod.id)?;
    sandbox.stop_sentry()?;
    sandbox.guard.context("no guard")?.signal(Signal::KILL)?;
    sandbox.sentry.wait_gone(SOON)?;
    for container in &running.containers {
        eventually(SOON, "containerd hears of it", || (state(cri, container).ok()? == 2).then_some(()))?;
    }
    cri.end_pod(&running.pod)
}

/// Whatever was changed meanwhile: a healthy pod is healthy and ends well, a wedged one ends by its deadline, one whose
/// guard dies ends too.
fn all_end(host: &Host, cri: &Cri, [healthy, wedged, orphaned]: &[Running; 3]) -> Result<()> {
    let container = healthy.containers.first().context("no container")?;
    let answer = cri.exec(container, &["echo", "well"], SOON)?;
    ensure!(answer.stdout == b"well\n", "{answer:?}");
    wedged.end_stopped(host, cri)?;
    orphan(host, orphaned, cri)?;
    cri.end_pod(&healthy.pod)
}

fn three(cri: &Cri) -> Result<[Running; 3]> {
    Ok([pod(cri, "healthy")?, pod(cri, "wedged")?, pod(cri, "orphaned")?])
}

#[test]
fn a_typo_in_the_file_stops_new_pods_and_no_other() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pods = three(&cri)?;
    let file = host.config_path(&host.handler("guarded")?);
    let sound = fs::read_to_string(&file)?;
    for (good, typo, says) in [
        ("kill_deadline = \"2s\"", "kill_deadlin = \"2s\"", "[guard] kill_deadlin: no such key"),
        ("kill_deadline = \"2s\"", "kill_deadline = \"2 sedonds\"", "kill_deadline"),
        ("[guard]", "[guard", "not TOML"),
    ] {
        ensure!(sound.contains(good), "{sound}");
        let line = 1 + sound.lines().position(|line| line.contains(good)).context("no line")?;
        fs::write(&file, sound.replace(good, typo))?;
        let refused =
            cri.run_pod("guarded", "new").map(drop).expect_err("a pod with a typo in its configuration");
        println!("{:#}", refused.root_cause());
        let text = format!("{refused:#}");
        for word in [says, &format!("{}:{line}", file.display())] {
            ensure!(text.contains(word), "it does not say {word}: {text}");
        }
    }
    // The last one: gVisor's own shim cannot read the file either, but it is not asked to while nothing is created.
    all_end(&host, &cri, &pods)?;
    fs::write(&file, sound)?;
    cri.end_pod(&pod(&cri, "new")?.pod)?;
    assert_nothing_left(&host, &before, SOON)
}

/// Copies that a scenario may replace.
fn own_parts(folder: &Path) -> Result<Parts> {
    copies(folder, Parts::pinned()?)
}

fn copies(folder: &Path, parts: Parts) -> Result<Parts> {
    let copy = |path: &Path| -> Result<PathBuf> {
        let own = folder.join(path.file_name().context("no name")?);
        fs::copy(path, &own).with_context(|| path.display().to_string())?;
        Ok(own)
    };
    Ok(Parts {
        runsc: copy(&parts.runsc)?,
        real_shim: copy(&parts.real_shim)?,
        guard: copy(&parts.guard)?,
        ..parts
    })
}

/// As an upgrade does it: another file of the same name, in one step.
fn replace(path: &Path) -> Result<()> {
    let new = path.with_extension("new");
    fs::copy(path, &new)?;
    let mut bytes = fs::OpenOptions::new().append(true).open(&new)?;
    std::io::Write::write_all(&mut bytes, b"another build")?;
    drop(bytes);
    fs::rename(&new, path).with_context(|| path.display().to_string())
}

fn replace_with(path: &Path, other: &Path) -> Result<()> {
    let new = path.with_extension("new");
    fs::copy(other, &new)?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}

#[test]
fn guard_real_shim_and_runsc_are_replaced_under_running_pods() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parts = own_parts(folder.path())?;
    let host = Host::builder().parts(parts.clone()).handler(quick("guarded")).start()?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pods = three(&cri)?;
    for path in [&parts.guard, &parts.real_shim, &parts.runsc] {
        replace(path)?;
    }
    let more = cri.run_container(&pods[0].pod, "more", &["sleep", "1000"])?;
    cri.stop_container(&more, 0, SOON)?;
    all_end(&host, &cri, &pods)?;
    cri.end_pod(&pod(&cri, "new")?.pod)?;
    assert_nothing_left(&host, &before, SOON)
}

/// An upgrade of gVisor under running pods: their sentries and real shims are the old ones, every command that is run on
/// them is the new runsc's. Whether these understand each other is gVisor's affair; that they end is not.
#[test]
fn another_gvisor_is_put_in_place_under_running_pods() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let new = Parts::pinned()?;
    let old = Parts::of(Versions::named(&new.versions.containerd, "2025-05")?)?;
    let parts = copies(folder.path(), old)?;
    let host = Host::builder().parts(parts.clone()).handler(quick("guarded")).start()?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let [healthy, wedged, orphaned] = three(&cri)?;
    for (path, with) in [(&parts.real_shim, &new.real_shim), (&parts.runsc, &new.runsc)] {
        replace_with(path, with)?;
    }
    wedged.end_stopped(&host, &cri)?;
    orphan(&host, &orphaned, &cri)?;
    healthy.end_wedged(&cri)?;
    cri.end_pod(&pod(&cri, "new")?.pod)?;
    assert_nothing_left(&host, &before, SOON)
}

/// In the middle of an upgrade by a package manager that removes first: who runs needs no file of the guard's.
#[test]
fn guard_and_real_shim_are_missing_for_a_while() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parts = own_parts(folder.path())?;
    let host = Host::builder().parts(parts.clone()).handler(quick("guarded")).start()?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let (wedged, healthy) = (pod(&cri, "wedged")?, pod(&cri, "healthy")?);
    let away = |path: &Path| path.with_extension("away");
    for path in [&parts.guard, &parts.real_shim] {
        fs::rename(path, away(path))?;
    }
    let refused = cri.run_pod("guarded", "new").map(drop).expect_err("a pod without a shim");
    println!("{:#}", refused.root_cause());
    wedged.end_stopped(&host, &cri)?;
    cri.end_pod(&healthy.pod)?;
    for path in [&parts.guard, &parts.real_shim] {
        fs::rename(away(path), path)?;
    }
    cri.end_pod(&pod(&cri, "new")?.pod)?;
    assert_nothing_left(&host, &before, SOON)
}

#[test]
fn a_read_only_report_dir_costs_the_report_and_nothing_else() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let reports = host.path().join("reports");
    fs::create_dir(&reports)?;
    mount("tmpfs", &reports, "tmpfs", MountFlags::RDONLY, None)?;
    let ended = pod(&cri, "subject").and_then(|running| running.end_stopped(&host, &cri));
    unmount(&reports, UnmountFlags::empty())?;
    ended?;
    let log = host.log();
    let said = log.lines().find(|line| line.contains("no report in")).context("it does not tell")?;
    println!("{said}");
    ensure!(said.contains("Read-only file system"), "{said}");
    assert_nothing_left(&host, &before, SOON)
}
