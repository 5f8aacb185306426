use nix::mount::{MsFlags, mount};

use std::fs;

use super::*;

/// A folder with a tmpfs on it, taken down with the test. Where mounting is not allowed there is none.
pub(crate) struct Tmpfs(pub(crate) PathBuf);

impl Tmpfs {
    pub(crate) fn new(point: &Path) -> Self {
        fs::create_dir_all(point).unwrap();
        let none: Option<&str> = None;
        mount(Some("guard-test"), point, Some("tmpfs"), MsFlags::empty(), none)
            .expect("needs root, to mount");
        Self(point.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[test]
fn mountinfo_lines_are_understood() {
    let line = br"36 35 98:0 /mnt1 /mnt\0402/a\134b rw,noatime master:1 shared:2 - fuse.x /dev/root\040x rw";
    let mount = Mount::parse(line).unwrap();
    assert_eq!((mount.id, mount.point.to_str(), mount.kind.as_str()), (36, Some(r"/mnt 2/a\b"), "fuse.x"));
    assert_eq!(mount.source, "/dev/root x");
    assert_eq!(unescape(br"a\9\04"), r"a\9\04");
    for line in [&b""[..], b"36", b"x 35 0:0 / / rw - t s", b"36 35 98:0 / /x rw"] {
        assert!(Mount::parse(line).is_none());
    }
}

#[test]
fn stacked_and_nested_mounts_go_and_neighbours_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (root, neighbour) = (folder.path().join("rootfs"), folder.path().join("rootfs2"));
    let first = Tmpfs::new(&root);
    let others = [Tmpfs::new(&root), Tmpfs::new(&root.join("a b/c")), Tmpfs::new(&neighbour)];
    assert_eq!(below(&root).len(), 3);
    assert!(unmount_below(&root, soon()).is_empty());
    assert!(below(&root).is_empty());
    assert_eq!(below(&neighbour).len(), 1);
    assert!(unmount_below(&root, soon()).is_empty());
    drop((first, others));
}

#[test]
fn a_busy_mount_is_detached_and_its_holder_known_until_it_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("rootfs");
    let tmpfs = Tmpfs::new(&root);
    let file = fs::File::create(root.join("held")).unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").current_dir(&root).spawn().unwrap();
    let detached = unmount_below(&root, soon());
    assert_eq!(detached.len(), 1);
    assert!(below(&root).is_empty());
    let pids = || holders(detached[0].id).into_iter().map(|holder| holder.pid).collect::<Vec<_>>();
    assert!(pids().contains(&(std::process::id() as i32)) && pids().contains(&(child.id() as i32)));
    drop(file);
    assert!(pids().contains(&(child.id() as i32)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(pids().is_empty(), "{:?}", pids());
    drop(tmpfs);
}

#[test]
fn a_relative_folder_has_no_mounts() {
    assert!(below(Path::new("")).is_empty() && below(Path::new("proc")).is_empty());
}
