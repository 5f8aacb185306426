//! A root to install into.

use anyhow::{Context as _, Result};
use integration::{Outcome, run};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::{
    collections::BTreeSet,
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

use super::LONG;

/// This machine's root with what changes in it apart.
pub(crate) struct Root(TempDir);

impl Root {
    pub(crate) fn new() -> Result<Self> {
        let root = Self(tempfile::Builder::new().prefix("rgroot").tempdir()?);
        let (disk, top) = (root.0.path().join("disk"), root.path());
        for folder in [&disk, &top] {
            fs::create_dir(folder)?;
        }
        mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), c"size=256m")?;
        let (changed, work) = (root.changes(), disk.join("work"));
        for folder in [&changed, &work] {
            fs::create_dir(folder)?;
        }
        let options = format!("lowerdir=/,upperdir={},workdir={}", changed.display(), work.display());
        mount("overlay", &top, "overlay", MountFlags::empty(), CString::new(options)?.as_c_str())
            .context("an overlay over /")?;
        mount("proc", top.join("proc"), "proc", MountFlags::empty(), None)?;
        mount_bind("/dev", top.join("dev"))?;
        Ok(root)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn changes(&self) -> PathBuf {
        self.0.path().join("disk/changed")
    }

    /// What the package has brought, or left: everything new but what dpkg and man-db keep of any package.
    pub(crate) fn brought(&self) -> BTreeSet<String> {
        fn collect(folder: &Path, top: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
                if ["var/lib/dpkg", "var/log/dpkg.log", "var/cache/man"].contains(&name.as_str()) {
                    continue;
                }
                if !Path::new("/").join(&name).exists() || !path.is_dir() {
                    found.insert(name);
                }
                if path.is_dir() && !path.is_symlink() {
                    collect(&path, top, found);
                }
            }
        }
        let mut found = BTreeSet::new();
        collect(&self.changes(), &self.changes(), &mut found);
        found
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Result<Outcome> {
        let mut command = Command::new("chroot");
        command.arg(self.path()).arg(program).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, b"", LONG)
    }

    pub(crate) fn install(&self, deb: &Path) -> Result<()> {
        fs::copy(deb, self.path().join("tmp/new.deb"))?;
        // Whatever a small image leaves out of every package.
        let installed = self.run("dpkg", &["--path-include=/usr/*", "--install", "/tmp/new.deb"])?.ok();
        fs::remove_file(self.path().join("tmp/new.deb"))?;
        installed.map(drop)
    }

    pub(crate) fn status(&self) -> Result<String> {
        let told = self.run(
            "dpkg-query",
            &["--show", "--showformat", "${Version} ${db:Status-Status}", "runsc-guard"],
        )?;
        Ok(if told.success() { told.stdout } else { "none".to_owned() })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for point in ["root/dev", "root/proc", "root", "disk"] {
            // The error that ended the test is the one to tell.
            let _ = unmount(self.0.path().join(point), UnmountFlags::DETACH);
        }
    }
}
