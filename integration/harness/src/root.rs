//! A root to install into: this machine's own, with what changes in it apart.

use crate::{Outcome, run};
use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::{
    collections::BTreeSet,
    ffi::CString,
    fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// For what unpacks, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(300);

/// Reports of guards.
const REPORTS: &str = "var/log/runsc-guard";
/// What a contributor's own guard and containerd may have where the tests install theirs is not this root's.
const AWAY: &[&str] = &[
    REPORTS,
    "etc/containerd",
    "etc/runsc-guard",
    "usr/local/bin/containerd-shim-runsc-guard-v2",
    "usr/local/bin/runsc-guard",
];

/// What a node has of its own, in `$0` (Debian's rpm has its database below /root); `$1` is its /run/containerd, and `$3` its
/// `$2`, where that names one. Sockets of shims stay where those of all hosts are.
const NODE: &str = r#"
set -eu
root=$0 run=$1 more=$2 own=$3
shift 3
for folder in etc root usr var; do
    mount --bind "$root/$folder" "/$folder"
done
mkdir -p /run/containerd/s "$run/s"
mount --bind /run/containerd/s "$run/s"
mount --rbind "$run" /run/containerd
if [ -n "$more" ]; then
    mkdir -p "$more" "$own"
    mount --bind "$own" "$more"
fi
exec "$@"
"#;

/// An overlay over /; what is mounted below / is not in it. Gone with the value.
#[derive(Debug)]
pub struct Root(TempDir);

impl Root {
    /// One in which nothing has changed yet.
    pub fn new() -> Result<Self> {
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
        for away in AWAY {
            remove(&top.join(away)).with_context(|| format!("cannot have {away} of its own"))?;
        }
        mount("proc", top.join("proc"), "proc", MountFlags::empty(), None)?;
        mount_bind("/dev", top.join("dev"))?;
        Ok(root)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// `program` on a node whose programs, configuration and logs are this root's, and whose /run/containerd is `run`.
    /// It keeps the pid of what is spawned.
    pub fn node(&self, run: &Path, program: &Path) -> Command {
        self.node_with(run, None, program)
    }

    /// The same, with one more folder below /run that is the node's own, and where that is on the machine.
    pub fn node_with(&self, run: &Path, more: Option<(&str, &Path)>, program: &Path) -> Command {
        let (more, own) = more.unwrap_or(("", Path::new("")));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", NODE]).arg(self.path()).arg(run).arg(more).arg(own).arg(program);
        command
    }

    /// Has a program in one of its folders, in place of the machine's own where there is one.
    pub fn link(&self, program: &Path, folder: &Path) -> Result<()> {
        let link = self.path().join(folder).join(program.file_name().context("no name")?);
        // There is none, as a rule.
        let _ = fs::remove_file(&link);
        symlink(program, &link).with_context(|| link.display().to_string())
    }

    fn changes(&self) -> PathBuf {
        self.0.path().join("disk/changed")
    }

    /// What a package has brought, or left: everything new but what dpkg, rpm and man-db keep of any package.
    pub fn brought(&self) -> BTreeSet<String> {
        const KEPT: &[&str] = &["var/lib/dpkg", "var/log/dpkg.log", "var/cache/man", "root/.rpmdb"];
        fn collect(folder: &Path, top: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
                if KEPT.contains(&name.as_str()) || is_whiteout(&path) {
                    continue;
                }
                let is_own = name.starts_with(REPORTS) || !Path::new("/").join(&name).exists();
                if is_own || !path.is_dir() {
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

    /// Runs `program` with this as its root.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Outcome> {
        let mut command = Command::new("chroot");
        command.arg(self.path()).arg(program).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, b"", LONG)
    }

    /// Installs a package by dpkg.
    pub fn install(&self, deb: &Path) -> Result<()> {
        fs::copy(deb, self.path().join("tmp/new.deb"))?;
        // Whatever a small image leaves out of every package.
        let installed = self.run("dpkg", &["--path-include=/usr/*", "--install", "/tmp/new.deb"])?.ok();
        fs::remove_file(self.path().join("tmp/new.deb"))?;
        installed.map(drop)
    }

    /// Version and state of the package runsc-guard as dpkg knows it, or "none".
    pub fn status(&self) -> Result<String> {
        let told = self.run(
            "dpkg-query",
            &["--show", "--showformat", "${Version} ${db:Status-Status}", "runsc-guard"],
        )?;
        Ok(if told.success() { told.stdout } else { "none".to_owned() })
    }
}

/// Whatever it is, or nothing.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// What an overlay has in its upper folder for a file of the lower one that was removed: nothing was brought there.
fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

impl Drop for Root {
    fn drop(&mut self) {
        for point in ["root/dev", "root/proc", "root", "disk"] {
            // The error that ended the test is the one to tell.
            let _ = unmount(self.0.path().join(point), UnmountFlags::DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_from_below_was_not_brought() {
        let root = Root::new().unwrap();
        for away in AWAY {
            assert!(fs::symlink_metadata(root.path().join(away)).is_err(), "{away}");
        }
        fs::write(root.path().join("usr/brought"), "").unwrap();
        remove(&root.path().join("etc/hostname")).unwrap();
        remove(&root.path().join("etc/passwd")).unwrap();
        assert_eq!(root.brought(), ["usr/brought".to_owned()].into());
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn links_and_folders_go_alike_and_what_is_not_there_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (link, below) = (folder.path().join("link"), folder.path().join("folder"));
        fs::create_dir(&below).unwrap();
        fs::write(below.join("kept"), "").unwrap();
        symlink(&below, &link).unwrap();
        remove(&link).unwrap();
        assert!(below.join("kept").exists());
        remove(&below).unwrap();
        remove(&below).unwrap();
        assert!(!below.exists());
    }
}
