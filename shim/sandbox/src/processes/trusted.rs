//! Paths that lead where root wants, whoever wrote them down: every step is root's, nobody else may replace one, and
//! none lies on a file system that another process serves. A path is walked here, step by step, because a look at one
//! that a stranger has chosen could hang on his server: where the next step is a mount is known before it is taken.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::resources::mounts;
use crate::sys::kernel::{FileId, Links};

/// File systems that answer without asking anybody. On the others a look may hang, and what it shows is a server's word.
const LOCAL: [&str; 11] =
    ["bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "overlay", "rootfs", "squashfs", "tmpfs", "xfs"];
const ALSO_LOCAL: [&str; 4] = ["zfs", "f2fs", "ramfs", "devtmpfs"];
/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;
/// May be written by group or others; and by these only what is their own.
const WRITABLE: u16 = 0o022;
const STICKY: u16 = 0o1000;

/// What is mounted where, as this process sees it.
#[derive(Debug)]
pub struct Ground {
    kinds: BTreeMap<PathBuf, String>,
    me: u32,
}

/// A place that is root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Its path, without links.
    pub path: PathBuf,
    /// Which file or folder it is.
    pub id: FileId,
}

impl Ground {
    /// Looks at the mounts. A later one at the same place hides the earlier.
    pub fn look() -> Self {
        let mounts = mounts::seen_by(mounts::ME).unwrap_or_default();
        let kinds = mounts.into_iter().map(|mount| (mount.point, mount.kind)).collect();
        Self { kinds, me: nix::unistd::geteuid().as_raw() }
    }

    /// Where this path leads; none unless every step of it is root's (or the caller's own), and the end may be written by
    /// nobody else.
    pub fn resolve(&self, path: &Path) -> Option<Trusted> {
        let mut rest = steps(path.is_absolute().then_some(path)?)?;
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        let mut end = self.step(&at)?;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                end = self.step(&at)?;
                continue;
            }
            let next = at.join(&name);
            end = self.step(&next)?;
            if !end.is_link() {
                at = next;
                continue;
            }
            links += 1;
            let target = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
                end = self.step(&at)?;
            }
            let mut steps = steps(&target)?;
            steps.append(&mut rest);
            rest = steps;
        }
        (end.mode & WRITABLE == 0).then_some(Trusted { path: at, id: end })
    }

    fn step(&self, at: &Path) -> Option<FileId> {
        if let Some(kind) = self.kinds.get(at)
            && !LOCAL.iter().chain(&ALSO_LOCAL).any(|local| local == kind)
        {
            return None;
        }
        let id = FileId::of(at, Links::Stay).ok()?;
        let theirs = id.owner == 0 || id.owner == self.me;
        // In a sticky folder nobody can replace what is root's; a link has no mode of its own.
        let closed = id.is_link() || id.mode & WRITABLE == 0 || id.mode & STICKY != 0;
        (theirs && closed).then_some(id)
    }
}

/// Its names and `..`s, in order.
fn steps(path: &Path) -> Option<VecDeque<OsString>> {
    let step = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    };
    Some(path.components().filter_map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_path_is_trusted_if_nobody_else_can_bend_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode: u32| {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for folder in ["own", "own/deep", "open", "open/deep", "sticky", "sticky/deep"] {
            fs::create_dir(at(folder)).unwrap();
            mode(folder, 0o711);
        }
        mode("open", 0o777);
        mode("sticky", 0o1777);
        symlink("own", at("link")).unwrap();
        symlink(at("open"), at("astray")).unwrap();
        symlink("round", at("round")).unwrap();
        let ground = Ground::look();
        let leads = |name: &str| ground.resolve(&at(name)).map(|trusted| trusted.path);
        assert_eq!(leads("own/deep"), Some(at("own/deep")));
        assert_eq!(leads("link/deep/../deep/."), Some(at("own/deep")));
        assert_eq!(leads("sticky/deep"), Some(at("sticky/deep")));
        for bent in ["open", "open/deep", "astray/deep", "sticky", "round", "nothing"] {
            assert_eq!(leads(bent), None, "{bent}");
        }
        assert_eq!(ground.resolve(Path::new("own")), None);
        if ground.me == 0 {
            std::os::unix::fs::chown(at("own"), Some(65534), None).unwrap();
            assert_eq!(leads("own/deep"), None, "somebody else's");
        }
    }

    #[test]
    fn proc_and_what_a_server_shows_are_not_even_looked_at() {
        let mut ground = Ground::look();
        assert_eq!(ground.resolve(Path::new("/proc/self/root")), None);
        ground.kinds.insert("/usr".into(), "fuse.sshfs".into());
        assert_eq!(ground.resolve(Path::new("/usr/bin")), None);
    }
}
