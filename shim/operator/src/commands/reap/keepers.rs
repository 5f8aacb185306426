//! What becomes of an unguarded sandbox's real shims once it is dead: whether they have told containerd, and whether
//! containerd is still there to be told and can delete what has ended. What is said of that is looked at, not hoped for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use runsc_guard_node::client::{self, AskError};
use runsc_guard_proto::service::TASK_V2;
use runsc_guard_proto::task::{StateRequest, StateResponse, WaitRequest, WaitResponse};
use runsc_guard_proto::types::task::Status;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::resources::state_file::RunscState;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::procfs;

use super::progress::until;
use crate::survey::model::{Container, Found, Guard, Task};
use crate::survey::scope::{self, processes, socket_of, try_connect};

/// What a real shim may take to see its sandbox die and to report that.
const REPORTS: Duration = Duration::from_secs(3);
/// What it may take to answer: longer than a `runsc state` on a busy node.
const ANSWER: Duration = Duration::from_secs(1);
/// What containerd may take to clear up after a shim that it finds dead: its own limit for that.
const CLEARS_UP: Duration = Duration::from_secs(5);

/// Whoever keeps the sandbox for containerd, and that.
pub(super) struct Keepers<'a> {
    found: &'a Found,
    /// Where containerd listens, as it has told the shims.
    containerd: Option<PathBuf>,
}

impl<'a> Keepers<'a> {
    /// As long as a shim lives that can be asked where containerd is.
    pub(super) fn of(found: &'a Found) -> Self {
        let named = found.real_shims.iter().chain(found.guard.task()).find_map(containerd_of);
        let told = || Some(runsc_guard_node::params::ServeParams::of(found.place.as_ref()?)?.address.into());
        Self { found, containerd: named.or_else(told) }
    }

    /// Waits until the real shims have told how each container ended; the reason if one cannot, or if nobody is there any
    /// more who would ask it.
    pub(super) fn tell(&self) -> Result<(), String> {
        let mut why = None;
        until(REPORTS, || {
            why = self.why_not();
            why.is_none() || self.shims().next().is_none()
        });
        why.map_or(Ok(()), Err)
    }

    fn why_not(&self) -> Option<String> {
        let living: Vec<&Task> = self.shims().collect();
        if living.is_empty() {
            return Some("it has gone by itself".to_owned());
        }
        let kept: Vec<(&Container, PathBuf)> = self.kept();
        if kept.is_empty() {
            return Some("containerd has forgotten it".to_owned());
        }
        let table = procfs::dir(living[0].identity.pid).join("net/unix");
        let table = fs::read_to_string(table).unwrap_or_default();
        let left = kept.iter().find(|(_, socket)| !is_connected(&table, socket));
        if let Some((container, _)) = left.filter(|_| self.containerd_listens()) {
            return Some(format!("containerd has forgotten {}", container.id));
        }
        if let Some(busy) = processes(self.found).iter().find(|one| one.role != Role::RealShim) {
            return Some(format!("its {} {} goes on", busy.role, busy.identity.pid));
        }
        kept.iter().find_map(|(container, socket)| {
            let never_ran = self.status(container).as_deref() == Some("created");
            Some(format!("{}: {}", container.id, not_told(container, never_ran, socket)?))
        })
    }

    /// The containers that containerd has a bundle for, with the sockets of their shims.
    fn kept(&self) -> Vec<(&'a Container, PathBuf)> {
        let all = self.found.containers.iter();
        all.filter_map(|one| Some((one, socket_of(one)?))).collect()
    }

    fn shims(&self) -> impl Iterator<Item = &'a Task> {
        self.found.real_shims.iter().filter(|shim| shim.identity.is_alive())
    }

    /// Containers that `runsc delete` refuses, as the real shim would run it: it believes what it wrote of a paused one,
    /// or of one that is being created, though its sandbox is dead.
    pub(super) fn refused_by_runsc(&self) -> Vec<&'a str> {
        let refused = |one: &&Container| {
            self.status(one)
                .is_some_and(|status| !matches!(status.as_str(), "created" | "running" | "stopped"))
        };
        self.found.containers.iter().filter(refused).map(|one| one.id.as_str()).collect()
    }

    /// What runsc wrote last about a container.
    fn status(&self, container: &Container) -> Option<String> {
        RunscState::read(&self.found.runsc_root, &container.id, &self.found.id).ok().map(|state| state.status)
    }

    /// Who does the rest, now that the real shims have told.
    pub(super) fn who_collects(&self) -> String {
        let pids: Vec<String> = self.shims().map(|shim| shim.identity.pid.to_string()).collect();
        let who = if self.containerd_listens() { "containerd" } else { "containerd, when it runs again," };
        format!(
            "its real shim ({}) has the exits; {who} collects them and has it release the rest",
            pids.join(", ")
        )
    }

    /// What containerd has made of it that the shims are dead.
    pub(super) fn who_clears_up(&self) -> String {
        let bundles =
            || self.found.containers.iter().filter(|one| one.bundle.is_absolute() && one.bundle.exists());
        if bundles().next().is_none() {
            return "containerd has let go of it".to_owned();
        }
        if self.containerd.as_deref().is_some_and(|socket| !listens(socket)) {
            return "containerd learns the exits when it runs again and finds the shims gone".to_owned();
        }
        match until(CLEARS_UP, || bundles().next().is_none()) {
            true => "containerd has found the shims gone, and has let go of it".to_owned(),
            false => {
                let left: Vec<String> = bundles().map(|one| one.bundle.display().to_string()).collect();
                format!(
                    "containerd has not let go of it yet: {}; it does when it looks again",
                    left.join(", ")
                )
            }
        }
    }

    fn containerd_listens(&self) -> bool {
        self.containerd.as_deref().is_some_and(listens)
    }
}

/// Where the real shims listen: by what they have written into the bundles, which containerd may have removed, and by the
/// sockets that they have open.
pub(super) fn sockets(found: &Found) -> Vec<PathBuf> {
    let mut all = scope::sockets(found);
    for shim in found.real_shims.iter().filter(|shim| found.guard == Guard::None && shim.identity.is_alive())
    {
        let dir = procfs::dir(shim.identity.pid);
        let links = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
        let links = links.filter_map(|fd| fs::read_link(fd.path()).ok()?.into_os_string().into_string().ok());
        let inodes: Vec<String> = links
            .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let table = fs::read_to_string(dir.join("net/unix")).unwrap_or_default();
        all.extend(table.lines().filter_map(|line| listener(line, &inodes)));
    }
    all.sort();
    all.dedup();
    all
}

/// The path of a listener (state 1) that is one of these, where a shim may have one.
fn listener(line: &str, inodes: &[String]) -> Option<PathBuf> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [.., "01", inode, path] = words[..] else { return None };
    let is_open = inodes.iter().any(|one| one == inode);
    scope::path_in(&format!("unix://{path}")).filter(|_| is_open)
}

/// The address that containerd gave a shim.
fn containerd_of(shim: &Task) -> Option<PathBuf> {
    let argv = bounded::command_line(shim.identity.pid).ok().filter(|_| shim.identity.is_alive())?;
    let at = argv.iter().position(|one| one == "-address")?;
    argv.get(at + 1).map(PathBuf::from)
}

/// Why the real shim has not told how this container ended. That it calls one stopped is not enough: it may have seen so
/// while its own command still hangs that goes before the exit. Only one that never ran has no exit to wait for.
fn not_told(container: &Container, never_ran: bool, socket: &Path) -> Option<String> {
    let (id, until) = (container.id.clone(), Instant::now() + ANSWER);
    let error = if never_ran {
        let question = StateRequest { id, ..StateRequest::default() };
        let answer: Result<StateResponse, AskError> =
            client::ask_service(socket, TASK_V2, "State", &question, until);
        match answer {
            Ok(state) if state.status.enum_value() == Ok(Status::STOPPED) => return None,
            Ok(state) => return Some(format!("its real shim says {:?}", state.status)),
            Err(error) => error,
        }
    } else {
        let question = WaitRequest { id, ..WaitRequest::default() };
        let answer: Result<WaitResponse, AskError> =
            client::ask_service(socket, TASK_V2, "Wait", &question, until);
        answer.err()?
    };
    Some(format!("its real shim: {error}"))
}

/// Whether somebody is connected to a socket, by what /proc/net/unix says: containerd is, as long as it knows the task.
fn is_connected(table: &str, socket: &Path) -> bool {
    table.lines().any(|line| is_connection(line, socket))
}

/// A line of /proc/net/unix: the sixth word is the state (3: connected), the eighth the path, which an accepted
/// connection has from its listener.
fn is_connection(line: &str, socket: &Path) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.nth(5) == Some("03") && words.nth(1).map(Path::new) == Some(socket)
}

/// Whether somebody listens; one that has more to take than it can does, too.
fn listens(path: &Path) -> bool {
    matches!(try_connect(path), Ok(()) | Err(Errno::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn who_is_connected_to_a_socket_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(!listens(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let connected = || is_connected(&fs::read_to_string("/proc/self/net/unix").unwrap(), &path);
        assert!(!connected());
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(connected());
        drop((client, server));
        assert!(!connected() && listens(&path));
        drop(listener);
        assert!(!listens(&path));
    }
}
