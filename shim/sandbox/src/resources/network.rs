//! Step 6: taking the network from a sandbox that cannot die, so that it neither sends nor answers on an address
//! that is somebody else's by then.
//!
//! Only in a network namespace that somebody made for this sandbox: config.json names it, it is neither the
//! guard's nor the node's, and no thread of any process outside the sandbox is in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::Scope;
use crate::processes::find;
use crate::sys::file;
use crate::sys::identity;
use crate::sys::procfs;
use crate::teardown::stuck::StuckProcess;

mod netlink;

use netlink::{Link, Netlink};

/// What a CNI plugin makes for one pod and can make again; other links (a network card that was moved in) are
/// only set down.
const REMOVED: [&str; 3] = ["veth", "macvlan", "ipvlan"];

/// Why a network is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The namespace cannot be opened, or its links not be changed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The path leads to something else.
    #[error("not a namespace")]
    NoNamespace,
    /// A pod on the host's network.
    #[error("it is the node's")]
    TheNodes,
    /// Somebody else would lose it.
    #[error("pid {0} is in it and not of this sandbox")]
    Shared(i32),
}

/// Sets down the links in the namespace at `path`, and removes those that were made for a pod. Gives what was
/// done, in words; nothing if that was done before.
pub fn release(scope: &Scope, path: &Path, stuck: &[StuckProcess]) -> Result<Vec<String>, NetworkError> {
    let (socket, id) = socket_in(open(path)?)?;
    for node in ["/proc/thread-self", "/proc/1"] {
        if namespace(Path::new(node))? == id {
            return Err(NetworkError::TheNodes);
        }
    }
    // Between this look and the last request somebody may come; a plugin that does comes to remove them, too.
    let mut ours: BTreeSet<i32> = find::find(scope).iter().map(|process| process.identity.pid).collect();
    ours.extend(stuck.iter().map(|one| one.identity.pid));
    if let Some(stranger) = stranger(id, &ours)? {
        return Err(NetworkError::Shared(stranger));
    }
    let mut netlink = Netlink::new(socket)?;
    let mut done = Vec::new();
    for link in netlink.links()?.into_iter().filter(|link| !link.is_loopback()) {
        done.extend(take(&mut netlink, &link)?);
    }
    Ok(done)
}

fn take(netlink: &mut Netlink, link: &Link) -> io::Result<Option<String>> {
    let up = link.is_up();
    if up {
        netlink.set_down(link.index)?;
    }
    if REMOVED.contains(&link.kind.as_str()) {
        netlink.remove(link.index)?;
        return Ok(Some(format!("removed {} {}", link.kind, link.name)));
    }
    Ok(up.then(|| format!("set down {}", link.name)))
}

/// Looks before it opens: a path may lead to a FIFO or to a file system that hangs.
fn open(path: &Path) -> Result<fs::File, NetworkError> {
    let looked = file::name(path, OFlag::empty())?;
    if fstatfs(&looked).map_err(io::Error::from)?.filesystem_type() != NSFS_MAGIC {
        return Err(NetworkError::NoNamespace);
    }
    Ok(fs::File::open(format!("/proc/self/fd/{}", looked.as_raw_fd()))?)
}

/// The network namespace of a thread: each has a /proc/net with inodes of its own. Unlike `ns/net`, they may be
/// looked at for every thread of the machine, also for one that has more privileges than the guard.
fn namespace(thread: &Path) -> io::Result<u64> {
    fs::metadata(thread.join("net/dev")).map(|meta| meta.ino())
}

/// A process with a thread in the namespace that is not ours. What cannot be looked at might be in it.
fn stranger(wanted: u64, ours: &BTreeSet<i32>) -> io::Result<Option<i32>> {
    for pid in procfs::all()?.into_iter().filter(|pid| !ours.contains(pid)) {
        for thread in identity::threads(pid) {
            match namespace(&procfs::dir(thread.identity.pid)) {
                Ok(found) if found == wanted => return Ok(Some(pid)),
                Ok(_) => {}
                // On its way out, and out of its namespaces already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// A socket stays in the namespace in which it was made; the thread that went there does not come back.
fn socket_in(target: fs::File) -> io::Result<(OwnedFd, u64)> {
    let make = move || -> io::Result<(OwnedFd, u64)> {
        setns(&target, CloneFlags::CLONE_NEWNET)?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok((socket, namespace(Path::new("/proc/thread-self"))?))
    };
    let thread = thread::Builder::new().name("netns".into()).spawn(make)?;
    thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

#[cfg(test)]
mod tests;
