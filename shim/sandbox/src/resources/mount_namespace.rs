//! The mount namespace in which a sandbox has its mounts. containerd may have one of its own (`unshare -m`, systemd's
//! PrivateMounts, snap, k0s), and shims are born into it: what was mounted there is to be seen, and to be unmounted,
//! there alone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};

use crate::processes::proof::Vantage;
use crate::resources::mounts::{self, Mount};
use crate::sys::identity::Identity;
use crate::sys::procfs;

/// Where to look: here, or where another process stands.
#[derive(Debug, Default)]
pub struct MountNamespace {
    /// The process, and its namespace, which stays when that is gone.
    elsewhere: Option<(i32, File)>,
}

impl MountNamespace {
    /// Where the keepers of a sandbox stand, its guard or real shims, which are proved. Without a living one: where one
    /// of these folders has a mount, if none has one here: what is mounted here was received there, and an unmount there
    /// would leave it here. Of the node's other processes only root's are believed.
    pub fn of(keepers: &[Identity], folders: &[PathBuf]) -> io::Result<Self> {
        let here = id(std::process::id().cast_signed())?;
        if let Some(keeper) = keepers.iter().find(|keeper| keeper.is_alive()) {
            return Self::at(keeper.pid, here);
        }
        if folders.iter().any(|folder| !mounts::below(folder).is_empty()) {
            return Ok(Self::default());
        }
        let holds = |mounts: &[Mount]| {
            folders.iter().any(|folder| mounts.iter().any(|mount| mount.point.starts_with(folder)))
        };
        let (vantage, mut seen) = (Vantage::new(), BTreeSet::from([here]));
        for pid in procfs::all()?.into_iter().filter(|pid| vantage.is_root(*pid)) {
            let new = id(pid).is_ok_and(|id| seen.insert(id));
            if new && mounts::seen_by(&pid.to_string()).is_ok_and(|mounts| holds(&mounts)) {
                return Self::at(pid, here);
            }
        }
        Ok(Self::default())
    }

    fn at(pid: i32, here: (u64, u64)) -> io::Result<Self> {
        let file = File::open(procfs::dir(pid).join("ns/mnt"))?;
        let meta = file.metadata()?;
        let elsewhere = ((meta.dev(), meta.ino()) != here).then_some((pid, file));
        Ok(Self { elsewhere })
    }

    /// The process that stands there, if that is elsewhere.
    pub fn elsewhere(&self) -> Option<i32> {
        self.elsewhere.as_ref().map(|(pid, _)| *pid)
    }

    /// What is mounted there at or below a folder.
    pub fn mounts_below(&self, folder: &std::path::Path) -> Vec<Mount> {
        let Some(pid) = self.elsewhere() else { return mounts::below(folder) };
        let all = mounts::seen_by(&pid.to_string()).unwrap_or_default();
        all.into_iter().filter(|mount| mount.point.starts_with(folder)).collect()
    }

    /// Has the calling thread, and what it starts, work there for the rest of its life. All other threads stay.
    pub fn enter(&self) -> io::Result<()> {
        let Some((_, file)) = &self.elsewhere else { return Ok(()) };
        unshare(CloneFlags::CLONE_FS)?;
        setns(file, CloneFlags::CLONE_NEWNS)?;
        let me = fs::read_link("/proc/self")?;
        if me.to_str() == Some(std::process::id().to_string().as_str()) {
            return Ok(());
        }
        Err(io::Error::other("its /proc is another one"))
    }
}

/// The identity of a process's mount namespace, or of a thread's.
pub(crate) fn id(pid: i32) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(procfs::dir(pid).join("ns/mnt"))?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use nix::mount::{MsFlags, mount};

    use crate::resources::mounts::tests::Tmpfs;

    /// A script in a mount namespace of its own, when it has said a letter.
    fn in_namespace(propagation: &str, script: &str, folder: &Path) -> Child {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", propagation, "sh", "-c", script, "--"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
        child
    }

    #[test]
    fn a_mount_that_only_another_sees_is_found_and_removed_there() {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs none \"$1\" && echo x && read x";
        let mut child = in_namespace("private", script, folder.path());
        let folders = [folder.path().to_owned()];
        let found = MountNamespace::of(&[], &folders).unwrap();
        let keeper = Identity::of(child.id().cast_signed()).unwrap();
        assert_eq!(found.elsewhere(), Some(keeper.pid));
        assert_eq!(MountNamespace::of(&[keeper], &[]).unwrap().elsewhere(), Some(keeper.pid));
        assert_eq!(found.mounts_below(folder.path()).len(), 1);
        assert!(mounts::below(folder.path()).is_empty());
        let inside = std::thread::scope(|threads| {
            let work = || {
                found.enter().unwrap();
                let seen = mounts::below(folder.path()).len();
                let soon = std::time::Instant::now() + std::time::Duration::from_secs(5);
                (seen, mounts::unmount_below(folder.path(), soon).len())
            };
            threads.spawn(work).join().unwrap()
        });
        assert_eq!(inside, (1, 0));
        assert!(found.mounts_below(folder.path()).is_empty());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(MountNamespace::of(&[keeper], &folders).unwrap().elsewhere(), None);
    }

    /// A service's slave namespace has what is mounted here as well; an unmount there would leave it here.
    #[test]
    fn what_is_mounted_here_is_not_looked_for_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Tmpfs::new(folder.path());
        let (none, shared) = (None::<&str>, MsFlags::MS_SHARED);
        mount(none, folder.path(), none, shared, none).unwrap();
        let mut child = in_namespace("slave", "echo x && read x", folder.path());
        let here = MountNamespace::of(&[], &[folder.path().to_owned()]).unwrap();
        assert_eq!((here.elsewhere(), here.mounts_below(folder.path()).len()), (None, 1));
        drop((child.stdin.take(), mounted));
        child.wait().unwrap();
    }
}
