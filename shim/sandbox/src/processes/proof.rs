//! What proves that a process is a sandbox's.
//!
//! What a process says of itself (command line, name, environment) proves nothing: whoever can start a process can have
//! it say anything, inside of any container. It only narrows what one of these proves:
//!
//! - **descent** from a guard or a real shim that is proved itself ([`find`](crate::processes::find));
//! - **root's word**: a process of this pid and user namespace with CAP_SYS_ADMIN is root on this node. It could do
//!   whatever would be done in its name, so that what it says is believed; of paths only if it sees the same files. So
//!   shims, guards and runsc commands are known;
//! - **a file of root's that names its pid** (runsc's state), written after the process had started: a pid may have
//!   been given to a stranger since;
//! - **the program**: it runs the very file that is the configured runsc, as the first process of a pid namespace just
//!   below ours, in a user namespace that only root can have made. That is how runsc starts sentry and gofer, and is
//!   for those whose shim is dead and whom no file names.
//!
//! Nothing here takes the lock of a process's memory, which one in state D may hold forever, and no file of a
//! stranger's is looked into. A process in another pid namespace is another node's (kind, Docker in Docker), whatever
//! root and id it names.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Scope;
use crate::processes::process::{Role, claims, guards_another, serves};
use crate::processes::trusted::{Ground, Trusted};
use crate::resources::state_file::{self, RunscState};
use crate::sys::identity::Identity;
use crate::sys::identity::Stat;
use crate::sys::kernel::{FileId, Links};
use crate::sys::procfs::{self, Status};

/// `CAP_SYS_ADMIN`: without it nobody starts a sandbox, and who has it needs no trick.
const SYS_ADMIN: u64 = 1 << 21;
/// Every user is mapped to itself. To write that takes CAP_SETUID in the namespace above.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];
/// How finely the start of a process and the time of a file are told apart.
const SLACK: Duration = Duration::from_secs(2);
/// What a sentry runs where gVisor is not one binary, beside runsc: its own program, the same with a network stack of
/// others', and what becomes either.
pub const SENTRIES: [&str; 3] = [
    "gvisor-bin/gvisor_sentry",
    "gvisor-bin/gvisor_sentry_plugin_stack",
    "gvisor-bin/gvisor-sentry-prewarmer",
];

/// What the kernel says of a process, whatever that says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Root on this node, see [`Vantage::is_root`].
    Root,
    /// The first process of a pid namespace just below ours, as sentry and gofer are.
    Contained,
    /// Anything else.
    Stranger,
}

/// From where processes are looked at: the namespaces of this process.
#[derive(Debug)]
pub struct Vantage {
    user: Option<PathBuf>,
    mount: Option<PathBuf>,
}

impl Vantage {
    /// Where this process stands.
    pub fn new() -> Self {
        let me = nix::unistd::gettid().as_raw();
        Self { user: procfs::namespace(me, "user").ok(), mount: procfs::namespace(me, "mnt").ok() }
    }

    /// What it is to us.
    pub fn standing(&self, stat: &Stat) -> Standing {
        let pid = stat.identity.pid;
        let status = Status::of(pid).unwrap_or_default();
        match status.pids.as_slice() {
            [_] if status.effective & SYS_ADMIN != 0 && self.is_root(pid) => Standing::Root,
            [_, 1] if self.is_contained(stat) => Standing::Contained,
            _ => Standing::Stranger,
        }
    }

    /// Whether it is proved to be root on this node: in our own pid and user namespace, with CAP_SYS_ADMIN.
    pub fn is_root(&self, pid: i32) -> bool {
        self.looks_root(pid).unwrap_or(false)
    }

    /// Whether it may be: it is, or that cannot be seen. For those whom it costs something to be no guard any more.
    pub fn may_be_root(&self, pid: i32) -> bool {
        self.looks_root(pid).unwrap_or_else(|error| error.kind() != io::ErrorKind::NotFound)
    }

    fn looks_root(&self, pid: i32) -> io::Result<bool> {
        let status = Status::of(pid)?;
        if status.pids.len() != 1 || status.effective & SYS_ADMIN == 0 {
            return Ok(false);
        }
        let ours = self.user.as_ref().ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(procfs::namespace(pid, "user")? == *ours)
    }

    /// Whether the paths that it names are ours.
    pub fn shares_files(&self, pid: i32) -> bool {
        self.mount.is_some() && procfs::namespace(pid, "mnt").ok() == self.mount
    }

    /// Whether it is the first process of a pid namespace just below ours.
    pub fn is_contained(&self, stat: &Stat) -> bool {
        let pid = stat.identity.pid;
        let parent = Status::of(stat.parent).unwrap_or_default();
        Status::of(pid).is_ok_and(|status| status.pids == [pid, 1]) && parent.pids.len() == 1
    }

    /// Whether it is in a user namespace that only root here can have made.
    pub fn is_of_roots_making(&self, pid: i32) -> bool {
        let map = procfs::read_file(&procfs::dir(pid).join("uid_map")).unwrap_or_default();
        let map = String::from_utf8_lossy(&map).into_owned();
        map.split_ascii_whitespace().eq(ALL_USERS)
            && procfs::namespace(pid, "user").is_ok_and(|its| Some(its) != self.user)
    }
}

impl Default for Vantage {
    fn default() -> Self {
        Self::new()
    }
}

/// The file that a process runs, whatever its path leads to by now.
pub fn program(pid: i32) -> Option<FileId> {
    FileId::of(&procfs::dir(pid).join("exe"), Links::Follow).ok()
}

/// The same as a path of ours that may be executed: root's at every step, and the very file. None where it has been
/// replaced since, or lies where only others see it.
pub fn program_path(pid: i32, ground: &Ground) -> Option<Trusted> {
    let path = fs::read_link(procfs::dir(pid).join("exe")).ok()?;
    let running = program(pid)?;
    ground.resolve(&path).filter(|trusted| trusted.id.is_same(&running))
}

/// A process that a state file of runsc's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its pid when that was written.
    pub pid: i32,
    /// Sentry or gofer.
    pub role: Role,
    /// The container.
    pub container: String,
    written: Option<SystemTime>,
}

impl Named {
    /// Those whom runsc's file about this container names.
    pub fn in_state(runsc_root: &Path, container: &str, sandbox: &str) -> Vec<Self> {
        let Ok(state) = RunscState::read(runsc_root, container, sandbox) else { return Vec::new() };
        let file = state_file::file(runsc_root, container, sandbox, "state");
        let written = file.ok().and_then(|file| fs::metadata(file).ok()?.modified().ok());
        let sentry = state.sandbox.as_ref().map(|sentry| (sentry.pid, Role::Sentry, sandbox));
        let all = sentry.into_iter().chain([(state.gofer_pid, Role::Gofer, container)]);
        let named = |(pid, role, container): (i32, Role, &str)| Self {
            pid,
            role,
            container: container.to_owned(),
            written,
        };
        all.filter(|(pid, ..)| *pid > 1).map(named).collect()
    }

    /// Whether the process that has this pid now is meant: it had started when the file was written.
    pub fn is(&self, identity: Identity) -> bool {
        let started = started(identity);
        self.pid == identity.pid
            && self.written.zip(started).is_some_and(|(written, started)| started <= written + SLACK)
    }
}

/// When it was started, by the clock of now.
fn started(identity: Identity) -> Option<SystemTime> {
    SystemTime::now().checked_sub(identity.age(procfs::uptime()?))
}

/// The files that are the runsc of this name or path, as it is found on PATH, and its sentry's programs.
pub fn runsc(binary: &Path, path: Option<&OsStr>, ground: &Ground) -> Vec<Trusted> {
    let on_path = path.filter(|_| binary.components().count() == 1).map(std::env::split_paths);
    let places = on_path.into_iter().flatten().map(|folder| folder.join(binary));
    let whole = binary.is_absolute().then(|| binary.to_owned());
    let found = whole.into_iter().chain(places).find_map(|place| ground.resolve(&place));
    let folder = found.as_ref().and_then(|runsc| runsc.path.parent());
    let sentries: Vec<Trusted> = folder
        .map(|folder| SENTRIES.iter().filter_map(|name| ground.resolve(&folder.join(name))).collect())
        .unwrap_or_default();
    found.into_iter().chain(sentries).collect()
}

/// What there is to prove that a process is of one sandbox, whose guard is dead.
#[derive(Debug)]
pub struct Proof<'a> {
    scope: &'a Scope,
    vantage: Vantage,
    named: Vec<Named>,
    programs: Vec<FileId>,
}

impl<'a> Proof<'a> {
    /// Gathers it.
    pub fn of(scope: &'a Scope) -> Self {
        let sandbox = scope.sandbox_id().unwrap_or_default();
        let named = |id: &str| Named::in_state(&scope.runsc_root, id, sandbox);
        let programs = match scope.runsc.as_os_str().is_empty() {
            true => Vec::new(),
            false => runsc(&scope.runsc, std::env::var_os("PATH").as_deref(), &Ground::look()),
        };
        Self {
            scope,
            vantage: Vantage::new(),
            named: scope.members.iter().flat_map(|member| named(&member.id)).collect(),
            programs: programs.into_iter().map(|one| one.id).collect(),
        }
    }

    /// Whether anything could prove it, whatever its command line says. Of all others that need not even be read.
    pub fn may_hold(&self, stat: &Stat) -> bool {
        let pid = stat.identity.pid;
        self.named.iter().any(|named| named.pid == pid)
            || self.vantage.is_root(pid)
            || self.is_left_by_runsc(stat)
    }

    /// Whether it is proved, and says that it is of this sandbox.
    pub fn holds(&self, stat: &Stat, argv: &[OsString]) -> bool {
        let pid = stat.identity.pid;
        if self.is_real_shim(pid, argv) {
            return true;
        }
        claims(argv, self.scope)
            && (self.named.iter().any(|named| named.is(stat.identity))
                || self.vantage.is_root(pid) && self.vantage.shares_files(pid)
                || self.is_left_by_runsc(stat))
    }

    /// Whether this is the guard of another pod, which is root's to say.
    pub fn is_another_guard(&self, pid: i32, argv: &[OsString]) -> bool {
        guards_another(argv, &self.scope.folder) && self.vantage.is_root(pid)
    }

    fn is_real_shim(&self, pid: i32, argv: &[OsString]) -> bool {
        is_real_shim(&self.vantage, pid, argv, &self.scope.folder)
    }

    fn is_left_by_runsc(&self, stat: &Stat) -> bool {
        let pid = stat.identity.pid;
        let runs = || program(pid).is_some_and(|exe| self.programs.iter().any(|one| one.is_same(&exe)));
        !self.programs.is_empty()
            && self.vantage.is_contained(stat)
            && self.vantage.is_of_roots_making(pid)
            // Last: the way to a stranger's file may lead over a server that hangs.
            && runs()
    }
}

/// Whether this is the real shim of the guard with that private folder: root runs it, its flags say so, and it works in
/// the very folder, which nobody else can enter.
pub fn is_real_shim(vantage: &Vantage, pid: i32, argv: &[OsString], folder: &Path) -> bool {
    serves(argv, folder) && vantage.is_root(pid) && works_in(pid, folder)
}

/// By the folder itself, not by its name: in another mount namespace the same name is another folder.
pub fn works_in(pid: i32, folder: &Path) -> bool {
    let of = |path: &Path| FileId::of(path, Links::Follow).ok();
    of(&procfs::dir(pid).join("cwd")).zip(of(folder)).is_some_and(|(cwd, folder)| cwd.is_same(&folder))
}

#[cfg(test)]
mod tests;
