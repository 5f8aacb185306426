//! One process of a sandbox, and what it is for: read from its command line, which gVisor sets
//! (`runsc/sandbox/sandbox.go`, `runsc/container/container.go`, `pkg/shim/v1/runsccmd/runsc.go`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Scope;
use crate::processes::command_line::{CommandLine, base, of_whom};
use crate::resources::state_file::is_id;
use crate::sys::identity::Identity;
use crate::sys::procfs;

/// How the guard's program is called (containerd makes that of the runtime type).
const GUARD: &[u8] = b"containerd-shim-runsc-guard";

/// What a process of a sandbox is there for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// gVisor's shim, or a child of it that has not yet become a `runsc`.
    RealShim,
    /// The sandbox's kernel.
    Sentry,
    /// Opens files for the sentry, one per container.
    Gofer,
    /// An exec'd process's stand-in on the host.
    Exec,
    /// A `runsc` command, by its subcommand. A shell wrapper around one counts as one.
    Runsc(String),
    /// Runs guest code for the sentry (systrap, ptrace); has no command line.
    Stub,
    /// Descends from the guard, and nothing more is known.
    Other,
}

impl Role {
    /// From the command line; `parent` is the role of the parent, which tells a stub from a stranger.
    pub(crate) fn of(argv: &[OsString], scope: &Scope, parent: Option<&Role>) -> Self {
        let argv = of_whom(argv);
        match argv.first().map(|name| base(name)) {
            None if matches!(parent, Some(Self::Sentry | Self::Stub)) => Self::Stub,
            None => Self::Other,
            Some(b"runsc-sandbox") => Self::Sentry,
            Some(b"runsc-gofer") => Self::Gofer,
            Some(b"runsc-exec") => Self::Exec,
            Some(_) if serves(argv, &scope.folder) => Self::RealShim,
            Some(_) => {
                let line = CommandLine::of(argv);
                let command = line.command.filter(|_| line.root.is_some());
                command.map_or(Self::Other, |command| Self::Runsc(command.to_owned()))
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealShim => f.write_str("real shim"),
            Self::Sentry => f.write_str("sentry"),
            Self::Gofer => f.write_str("gofer"),
            Self::Exec => f.write_str("runsc-exec"),
            Self::Runsc(subcommand) => write!(f, "runsc {subcommand}"),
            Self::Stub => f.write_str("stub"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// What a command line of gVisor's says of its process. Whoever may start processes may write one: it proves
/// nothing, and serves to find what there is to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is for: a sentry, a gofer, an exec or a runsc command.
    pub role: Role,
    /// runsc's root, with the namespace.
    pub root: PathBuf,
    /// The container.
    pub container: String,
    /// Its bundle, where it is named.
    pub bundle: Option<PathBuf>,
}

impl Claim {
    /// Reads a command line; none if it is none of gVisor's, or names no root or container.
    pub fn of(argv: &[OsString]) -> Option<Self> {
        let role = Role::of(argv, &Scope::default(), None);
        if !matches!(role, Role::Sentry | Role::Gofer | Role::Exec | Role::Runsc(_)) {
            return None;
        }
        let line = CommandLine::of(argv);
        let root = PathBuf::from(line.root.filter(|root| Path::new(root).is_absolute())?);
        let bundle = line.bundle.map(PathBuf::from);
        let container = container(&line, &role)?.to_owned();
        Some(Self { role, root, container, bundle })
    }
}

/// A process that was proved to belong to a sandbox, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which process.
    pub identity: Identity,
    /// Its parent then.
    pub parent: i32,
    /// The kernel's name for it.
    pub comm: String,
    /// R, S, D, T, ...
    pub state: char,
    /// What it is for.
    pub role: Role,
    /// Its command line.
    pub argv: Vec<OsString>,
}

impl Process {
    /// The bundle that its command line names.
    pub fn bundle(&self) -> Option<&Path> {
        CommandLine::of(&self.argv).bundle.map(Path::new)
    }

    /// The sentry is still to come of it.
    pub fn is_in_prewarmer(&self) -> bool {
        of_whom(&self.argv).len() < self.argv.len()
    }

    /// By a signal, or by a debugger.
    pub fn is_stopped(&self) -> bool {
        procfs::is_stopped(self.state)
    }

    /// The container that its command line names.
    pub fn container(&self) -> Option<&str> {
        container(&CommandLine::of(&self.argv), &self.role)
    }
}

/// Whether a command line says that its process is of the sandbox: a `runsc` with the bundle of a member, or with this
/// runsc root and exactly a member's id. That anybody can say; see [`proof`](crate::processes::proof).
pub(crate) fn claims(argv: &[OsString], scope: &Scope) -> bool {
    if !of_whom(argv).first().is_some_and(|name| base(name).starts_with(b"runsc")) {
        return false;
    }
    let line = CommandLine::of(argv);
    let same_root = line.root.is_some_and(|root| is(root, &scope.runsc_root));
    scope.members.iter().any(|member| {
        line.bundle.is_some_and(|bundle| is(bundle, &member.bundle))
            || same_root && !member.id.is_empty() && line.container == Some(&member.id)
    })
}

/// Whether this is the guard or the real shim of the pod whose private folder that is: the flags of both name the
/// pod, and hash to the folder's name. A `start` or `delete` has these flags, too, and others.
pub fn serves(argv: &[OsString], folder: &Path) -> bool {
    served(argv).is_some_and(|name| folder.is_absolute() && folder.file_name() == Some(OsStr::new(&name)))
}

/// The name of everything of one pod: what its processes' own flags hash to. containerd names a shim's socket so
/// (`pkg/shim`, `SocketAddress`); `guard` keeps ours apart from the real shim's.
pub fn guard_name(address: &str, namespace: &str, sandbox: &str) -> String {
    let path = Path::new(address).join(namespace).join(sandbox).join("guard");
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the pod that a guard or real shim serves.
fn served(argv: &[OsString]) -> Option<String> {
    let flag = |name: &str| {
        let at = argv.iter().position(|one| one == name)?;
        argv.get(at + 1)?.to_str()
    };
    let acts = ["-publish-binary", "-bundle"].iter().any(|name| flag(name).is_some());
    if acts { None } else { Some(guard_name(flag("-address")?, flag("-namespace")?, flag("-id")?)) }
}

/// Whether this is the guard of another pod than the one whose private folder that is.
pub(crate) fn guards_another(argv: &[OsString], folder: &Path) -> bool {
    let is_guard = argv.first().is_some_and(|name| base(name).starts_with(GUARD));
    is_guard && served(argv).is_some_and(|name| folder.file_name() != Some(OsStr::new(&name)))
}

/// The container that a command line is about. A gofer of gVisor's of before 2026 does not say; its bundle does, which
/// is named by it.
fn container<'a>(line: &CommandLine<'a>, role: &Role) -> Option<&'a str> {
    let by_bundle = || Path::new(line.bundle?).file_name()?.to_str().filter(|id| is_id(id));
    line.container.or_else(|| by_bundle().filter(|_| *role == Role::Gofer))
}

fn is(value: &OsStr, path: &Path) -> bool {
    path.is_absolute() && Path::new(value) == path
}

#[cfg(test)]
mod tests;
