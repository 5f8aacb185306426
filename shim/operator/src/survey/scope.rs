//! Where the library finds a sandbox of the survey: its processes, what it holds, its sockets, its mounts.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use runsc_guard_node::paths::is_hash;
use runsc_guard_sandbox::Member;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::resources::held::Resources;
use runsc_guard_sandbox::resources::mount_namespace::MountNamespace;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::identity::{Identity, Stat};

use super::model::{Container, Found, Guard, Task};

/// No address is longer.
const ADDRESS: u64 = 4096;

/// What the library must know to find a sandbox. A guard has all of it below itself. An unguarded one is found
/// below each of its shims, which take in orphans as a guard does, and by command lines, the last of these.
pub(crate) fn scopes(found: &Found) -> Vec<Scope> {
    let member = |one: &Container| Member::new(one.id.clone(), one.bundle.clone());
    let scope = |keeper: Option<&Task>| Scope {
        guard: keeper.map(|task| task.identity),
        real_shim: found.real_shims.first().map(|task| task.identity),
        members: found.containers.iter().map(member).collect(),
        runsc_root: found.runsc_root.clone(),
        folder: found.place.as_ref().map(|place| place.folder.clone()).unwrap_or_default(),
        runsc: found.runsc.clone().unwrap_or_default(),
        ..Scope::default()
    };
    if found.guard != Guard::None {
        return vec![scope(found.guard.task())];
    }
    found.real_shims.iter().map(Some).chain([None]).map(scope).collect()
}

/// Every process that is proved to be of this sandbox, shims first.
pub(crate) fn processes(found: &Found) -> Vec<Process> {
    let shims: BTreeSet<Identity> = found.real_shims.iter().map(|shim| shim.identity).collect();
    let below = scopes(found).into_iter().flat_map(|scope| find::find(&scope)).map(|mut process| {
        if shims.contains(&process.identity) {
            process.role = Role::RealShim;
        }
        process
    });
    let mut known = BTreeSet::new();
    let all = shims.iter().filter_map(|shim| shim_itself(*shim)).chain(below);
    all.filter(|process| known.insert(process.identity)).collect()
}

fn shim_itself(identity: Identity) -> Option<Process> {
    let stat = Stat::of(identity.pid).ok().filter(|stat| stat.identity == identity && !stat.is_dead())?;
    let Stat { parent, comm, state, .. } = stat;
    let argv = bounded::command_line(identity.pid).unwrap_or_default();
    Some(Process { identity, parent, comm, state, role: Role::RealShim, argv })
}

/// What it holds; of its one or first scope, which all have the same members.
pub(crate) fn resources(found: &Found) -> Resources {
    let scope = scopes(found).swap_remove(0);
    Resources::of(&scope, &scope.members)
}

/// The sockets of an unguarded sandbox's shims, as these have written them into the bundles. Only where a shim
/// puts one: the name is a hash, in a folder of containerd's.
pub(crate) fn sockets(found: &Found) -> Vec<PathBuf> {
    if found.guard != Guard::None {
        return Vec::new();
    }
    found.containers.iter().filter_map(socket_of).collect()
}

/// The socket of the shim that keeps this container.
pub(crate) fn socket_of(container: &Container) -> Option<PathBuf> {
    let named = file::read(&container.bundle.join("address"), ADDRESS).ok()?;
    path_in(std::str::from_utf8(&named).ok()?)
}

/// Whether somebody may listen at a socket: all but that it is refused or not there proves nothing.
pub(crate) fn may_listen(path: &Path) -> bool {
    !matches!(try_connect(path), Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

/// Connects to a socket, without waiting for anybody.
pub(crate) fn try_connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)
}

/// Where containerd and the shims have the sandbox's mounts.
pub(crate) fn namespace_of(found: &Found) -> io::Result<MountNamespace> {
    let keepers: Vec<Identity> =
        found.guard.task().into_iter().chain(&found.real_shims).map(|task| task.identity).collect();
    let bundles = found.containers.iter().map(|one| one.bundle.clone());
    MountNamespace::of(&keepers, &bundles.filter(|bundle| bundle.is_absolute()).collect::<Vec<_>>())
}

/// The path in an address, where a shim may listen: the name is a hash.
pub(crate) fn path_in(address: &str) -> Option<PathBuf> {
    let path = Path::new(address.trim().strip_prefix("unix://")?);
    (path.is_absolute() && is_hash(path.file_name()?)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::tests::found;

    #[test]
    fn each_shim_of_an_unguarded_pod_is_looked_below() {
        let mut pod = found("pod1");
        pod.real_shims
            .push(Task { identity: Identity { pid: 20, start_time: 5 }, ..pod.real_shims[0].clone() });
        let keepers = |pod: &Found| -> Vec<Option<i32>> {
            scopes(pod).iter().map(|scope| Some(scope.guard?.pid)).collect()
        };
        assert_eq!(keepers(&pod), [Some(10), Some(20), None]);
        let all = scopes(&pod);
        assert!(
            all.iter().all(|scope| scope.sandbox_id() == Some("pod1") && scope.folder.as_os_str().is_empty())
        );
        pod.guard = Guard::Silent(pod.real_shims[0].clone(), String::new());
        assert_eq!(keepers(&pod), [Some(10)], "a guard has all of it below itself");
        (pod.guard, pod.real_shims) = (Guard::Dead, Vec::new());
        assert_eq!(keepers(&pod), [None]);
    }

    #[test]
    fn only_a_refusal_proves_that_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(!may_listen(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(may_listen(&path));
        drop(listener);
        assert!(!may_listen(&path));
        assert!(may_listen(&path.join("below a socket")), "that is an error of another kind");
    }

    #[test]
    fn an_address_is_believed_only_where_a_shim_may_listen() {
        let hash = "0123456789abcdef".repeat(4);
        let good = format!("unix:///run/containerd/s/{hash}\n");
        assert_eq!(path_in(&good), Some(Path::new("/run/containerd/s").join(&hash)));
        for bad in
            ["", "unix:///run/containerd/containerd.sock", &format!("unix://s/{hash}"), &format!("/s/{hash}")]
        {
            assert_eq!(path_in(bad), None, "{bad}");
        }
    }
}
