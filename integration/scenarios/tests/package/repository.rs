//! Packages from a repository: made of a release, signed by a key made here, walked from file:// by the page's commands,
//! and refused once somebody has changed them.

use super::{LONG, OPERATOR, RELEASE};
use crate::walk::packages::shell_rpm;
use anyhow::{Result, ensure};
use harness::{Outcome, Page, Root, SOON, checkout, release, run};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const KEY: &str = "repository@runsc-guard.invalid";
/// Where the node finds it.
const HERE: &str = "/srv/repository";

/// A key ring with one key, for as long as it is held.
struct Ring(TempDir);

impl Ring {
    fn new() -> Result<Self> {
        let ring = Self(tempfile::tempdir()?);
        fs::set_permissions(ring.0.path(), fs::Permissions::from_mode(0o700))?;
        let key = ["--batch", "--passphrase", "", "--quick-gen-key", KEY, "ed25519", "sign", "0"];
        run(ring.with("gpg").args(key), b"", LONG)?.ok()?;
        Ok(ring)
    }

    fn with(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.0.path());
        command
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The agent of this ring.
        let _ = run(self.with("gpgconf").args(["--kill", "gpg-agent"]), b"", SOON);
    }
}

/// A node that knows no other repository, and the one that was made, on it.
fn node() -> Result<(Root, PathBuf)> {
    let (root, ring, release) = (Root::new()?, Ring::new()?, RELEASE.get(release)?);
    let repository = root.path().join(HERE.trim_start_matches('/'));
    let mut make = ring.with(checkout().join("hack/package/repository"));
    make.arg(release.path()).arg(&repository).arg(KEY);
    run(&mut make, b"", LONG)?.ok()?;
    for others in ["etc/apt/sources.list.d", "etc/yum.repos.d"] {
        let folder = root.path().join(others);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
    }
    let _ = fs::remove_file(root.path().join("etc/apt/sources.list"));
    Ok((root, repository))
}

/// A line of the page, on that node. What it leaves running (dnf's gpg-agent) ends with it.
fn types(root: &Root, line: &str) -> Result<Outcome> {
    let line = line.replace("REPOSITORY", &format!("file://{HERE}"));
    let told =
        root.run("unshare", &["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &line])?;
    println!("# {line}\n{}{}", told.stdout, told.stderr);
    Ok(told)
}

/// A byte of it is another one.
fn tamper(index: &Path) -> Result<()> {
    let text = fs::read_to_string(index)?;
    let changed = text.replacen("Size: ", "Size: 1", 1).replacen("<size package=\"", "<size package=\"1", 1);
    let changed = if changed == text { text.replacen("<revision>", "<revision>1", 1) } else { changed };
    ensure!(changed != text, "{text}");
    Ok(fs::write(index, changed)?)
}

#[test]
fn apt_installs_from_it_and_refuses_another_index() -> Result<()> {
    let (root, repository) = node()?;
    let commands = Page::read("hack/docs/packages.md")?.commands("From a repository", "curl")?;
    for command in &commands {
        types(&root, command)?.ok()?;
    }
    ensure!(root.status()? == concat!(env!("CARGO_PKG_VERSION"), " installed"), "{}", root.status()?);
    ensure!(root.path().join(OPERATOR).is_file(), "no program");

    tamper(&repository.join("deb/dists/stable/main/binary-amd64/Packages"))?;
    fs::remove_file(repository.join("deb/dists/stable/main/binary-amd64/Packages.gz"))?;
    types(&root, "rm -r /var/lib/apt/lists/*")?.ok()?;
    let refused = types(&root, &commands[2])?;
    ensure!(!refused.success(), "apt takes a changed index");
    Ok(())
}

#[test]
fn dnf_installs_from_it_and_refuses_another_index() -> Result<()> {
    let (root, repository) = node()?;
    let page = Page::read("hack/docs/packages.md")?;
    let told =
        page.block("From a repository", "[runsc-guard]")?.replace("REPOSITORY", &format!("file://{HERE}"));
    fs::write(root.path().join("etc/yum.repos.d/runsc-guard.repo"), told)?;
    let shell = tempfile::tempdir()?;
    fs::copy(shell_rpm(shell.path())?, root.path().join("srv/shell.rpm"))?;
    types(&root, "rpm -U /srv/shell.rpm")?.ok()?;
    let install = page.command("From a repository", "dnf")?;
    types(&root, &install)?.ok()?;
    types(&root, "rpm -V runsc-guard")?.ok()?;
    ensure!(root.path().join(OPERATOR).is_file(), "no program");

    types(&root, "rpm -e runsc-guard && dnf clean all")?.ok()?;
    tamper(&repository.join("rpm/repodata/repomd.xml"))?;
    let refused = types(&root, &install)?;
    ensure!(!refused.success() && !root.path().join(OPERATOR).exists(), "dnf takes a changed index");
    Ok(())
}
