//! hack/docs/packages.md, by each of its envelopes.

use super::{GUARD, Node, only_reports};
use anyhow::{Result, anyhow, ensure};
use harness::{Page, Service, Shared, release, run};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

const PAGE: &str = "hack/docs/packages.md";
/// What hack/package/release made, for all envelopes.
static RELEASE: Shared<TempDir> = Shared::new();
/// One package at a time: removal waits for whichever guard of the machine runs as /usr/bin/containerd-shim-..., in this
/// node or in another.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_deb_is_installed_verified_and_removed_by_its_page() -> Result<()> {
    let (release, _alone) = (RELEASE.get(release)?, ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    let node = Node::new()?;
    let left = walk(&node, release.path(), "dpkg", "/usr/bin")?;
    ensure!(left.is_empty(), "left: {left:#?}");
    Ok(())
}

#[test]
fn the_rpm_is_installed_verified_and_removed_by_its_page() -> Result<()> {
    let (release, _alone) = (RELEASE.get(release)?, ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    let node = Node::new()?;
    of_a_distribution_with_rpm(&node)?;
    only_reports(&walk(&node, release.path(), "rpm", "/usr/bin")?)
}

#[test]
fn the_tarball_is_unpacked_and_removed_by_its_page() -> Result<()> {
    let (release, node) = (RELEASE.get(release)?, Node::new()?);
    let mut left = walk(&node, release.path(), "tar", "/usr/local/bin")?;
    // Nobody knows whose an empty folder is.
    let folder = |path: &String| node.at(path).is_ok_and(|path| path.is_dir());
    left.retain(|path| path.starts_with("var/log") || !folder(path));
    only_reports(&left)
}

/// rpm's database has what every distribution with rpm has: something that brings /bin/sh.
fn of_a_distribution_with_rpm(node: &Node) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shell = shell_rpm(folder.path())?;
    node.types(shell.with_file_name("").as_path(), "rpm -U shell.rpm")?.ok()?;
    Ok(())
}

/// A package that brings /bin/sh, made there.
pub(crate) fn shell_rpm(folder: &Path) -> Result<PathBuf> {
    let spec = "Name: shell\nVersion: 1\nRelease: 1\nSummary: a shell\nLicense: none\nBuildArch: noarch\n\
                Provides: /bin/sh\n%description\nA shell.\n%files\n";
    fs::write(folder.join("spec"), spec)?;
    let mut build = Command::new("rpmbuild");
    build.args(["--quiet", "-bb", "--define", "_rpmfilename shell.rpm", "spec"]).current_dir(folder);
    build.arg("--define").arg(format!("_topdir {}", folder.display()));
    run(&mut build, b"", Duration::from_secs(60))?.ok()?;
    Ok(folder.join("RPMS/shell.rpm"))
}

/// The page from top to bottom, of the envelopes this one; what is left then.
fn walk(node: &Node, release: &Path, envelope: &str, programs: &str) -> Result<BTreeSet<String>> {
    let page = Page::read(PAGE)?;
    let types = |command: &str| node.types(release, command);
    let (root, config) = (node.host.root()?, node.host.config_file());
    let (before, owners) = (root.brought(), fs::read_to_string(&config)?);
    let since = || root.brought().difference(&before).cloned().collect::<BTreeSet<_>>();
    let is_package = envelope != "tar";

    let verify = own(&page, "Verify", "sha256sum", envelope)?;
    ensure!(verify.len() == if is_package { 2 } else { 1 }, others(verify));
    types(&verify[0])?.ok()?;
    let [install] = own(&page, "Install", "dpkg", envelope)?.try_into().map_err(others)?;
    types(&install)?.ok()?;
    let guard = format!("{programs}/{GUARD}");
    ensure!(since().contains(guard.trim_start_matches('/')), "{:#?}", since());
    if is_package {
        ensure!(types(&verify[1])?.ok()?.is_empty(), "not as it was packed");
    }

    let looks = own(&page, "Install", "runsc-guard", envelope)?;
    let [fix, restart, doctor] = looks.try_into().map_err(others)?;
    Service::of(&node.host, |service| {
        node.adds_what_it_says(&types(&fix)?.ok()?)?;
        types(&restart)?.ok()?;
        ensure!(service.restarts() == 1, "{} restarts", service.restarts());
        let said = types(&doctor)?.ok()?;
        ensure!(said.contains("[guard] is valid"), "{said}");
        Ok(())
    })?;

    let [remove] = own(&page, "Remove", "kubectl", envelope)?.try_into().map_err(others)?;
    node.a_pod_ends("runsc-guard", &guard, || {
        if is_package {
            let refused = types(&remove)?;
            ensure!(!refused.success() && refused.stderr.contains("guarded pods are running"), "{refused:?}");
            ensure!(node.at(&guard)?.exists(), "the guard is gone");
        }
        Ok(())
    })?;
    types(&remove)?.ok()?;
    fs::write(&config, owners)?;
    node.host.restart_containerd()?;
    Ok(since())
}

/// The commands of a block, without those that are other envelopes' and those that need a cluster.
fn own(page: &Page, heading: &str, beginning: &str, envelope: &str) -> Result<Vec<String>> {
    let mut commands = page.commands(heading, beginning)?;
    commands.retain(|command| {
        let program = command.split(' ').next().unwrap_or_default();
        program == envelope || !["dpkg", "rpm", "tar", "kubectl"].contains(&program)
    });
    Ok(commands.iter().map(|command| command.replace("VERSION", env!("CARGO_PKG_VERSION"))).collect())
}

fn others(commands: Vec<String>) -> anyhow::Error {
    anyhow!("the page has other commands than this walk: {commands:#?}")
}
