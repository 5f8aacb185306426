//! Handing over from `start` to the guard: what it is told, and how it is started.
//!
//! The guard is this same binary, started anew without an action. Its listening socket is its stdin (as
//! inetd hands a socket to a `wait` service): no descriptor has to be passed by number, so no unsafe code
//! is needed on either side. What it must know lies in `params.json` in its private folder, where an operator
//! can also read with which configuration a guard runs. It keeps neither stdout nor stderr: containerd
//! waits until every holder of `start`'s pipes has closed them (`core/runtime/v2/binary.go`,
//! `CombinedOutput`). The environment is passed on as it is: it is what the real `start` would give to the
//! real shim.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, listen};
use nix::sys::stat::{Mode, fchmod};
use serde::{Deserialize, Serialize};

use crate::bundle::Record;
use crate::cli::Target;
use crate::config::Config;
use crate::file;
use crate::place::{self, Base, Place};
use crate::sandbox::identity::Identity;
use crate::sandbox::process::serves;
use crate::sandbox::procfs;
use crate::sandbox::proof::Vantage;

/// What the real `start` gives to gVisor's shim (`pkg/shim/v1/manager.go`, `shimOOMScore`): the kernel takes
/// it last.
const OOM_SCORE: i32 = -999;
/// Far beyond what a guard is told.
const MAX_PARAMS: u64 = 1 << 20;

/// All that the guard is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeParams {
    /// The configuration, kept for life.
    pub config: Config,
    /// The real shim, resolved on containerd's PATH.
    pub shim: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// Id of the sandbox.
    pub sandbox: String,
    /// Id of the container that `start` was for: the sandbox's, but for a member whose guard was replaced.
    pub container: String,
    /// That container's bundle.
    pub bundle: PathBuf,
    /// containerd's GRPC address, as its `-address` says.
    pub address: String,
    /// Where containerd takes events; empty when nobody said.
    pub ttrpc_address: String,
    /// Where things lie.
    pub place: Place,
    /// containerd logs at debug level.
    pub debug: bool,
    /// Why the OOM score could not be lowered, to be logged.
    pub oom_score_refused: Option<String>,
    /// The pod's annotations that are not heeded and why, to be logged.
    #[serde(default)]
    pub annotations_ignored: Option<String>,
}

impl ServeParams {
    /// runsc's root with the namespace, as the real shim passes it (`--root`).
    pub fn runsc_root(&self) -> PathBuf {
        self.config.runsc_root_of(&self.namespace)
    }

    /// The record of a sandbox as it is before anything has happened: what the guard begins with.
    pub fn record(&self) -> Record {
        let mut record = Record::new(&self.namespace, &self.sandbox);
        record.socket.clone_from(&self.place.socket);
        record.folder.clone_from(&self.place.folder);
        record.runsc_root = self.runsc_root();
        record.member_mut(&self.container, &self.bundle);
        record
    }

    /// What the guard in this folder was told, if it can be read.
    pub fn of(place: &Place) -> Option<Self> {
        serde_json::from_slice(&file::read(&place.params(), MAX_PARAMS).ok()?).ok()
    }
}

/// Why no guard was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// gVisor's shim is not installed, or elsewhere.
    #[error(
        "the real shim \"{shim}\" is in no folder of containerd's PATH ({}); install gVisor's \
         containerd-shim-runsc-v1 there, or set [guard] shim to its absolute path", path.display()
    )]
    NotOnPath {
        /// Its name.
        shim: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is none at the configured path.
    #[error("the real shim {} is no executable file; correct [guard] shim", .0.display())]
    NotExecutable(PathBuf),
    /// A step that failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Step {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not started by `start`.
    #[error("the guard of {sandbox} is started by containerd, through the action start, not by hand")]
    ByHand {
        /// The sandbox.
        sandbox: String,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Place(#[from] place::PlaceError),
}

fn step(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let path = path.to_owned();
    move |source| LaunchError::Step { what, path, source }
}

/// Finds the real shim as containerd would: an absolute path, or a name on PATH.
pub fn find_shim(shim: &str, path: Option<&OsStr>) -> Result<PathBuf, LaunchError> {
    let executable = |file: &Path| {
        fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if shim.starts_with('/') {
        let file = PathBuf::from(shim);
        return if executable(&file) { Ok(file) } else { Err(LaunchError::NotExecutable(file)) };
    }
    let path = path.unwrap_or_default();
    std::env::split_paths(path)
        .map(|folder| folder.join(shim))
        .find(|file| file.is_absolute() && executable(file))
        .ok_or_else(|| LaunchError::NotOnPath { shim: shim.to_owned(), path: path.into() })
}

/// Starts the guard and returns which process it is. containerd's connection waits in the socket's backlog
/// until the guard takes it, so nothing is waited for here.
pub fn launch(params: &mut ServeParams) -> Result<Identity, LaunchError> {
    let place = params.place.clone();
    place.create().map_err(step("create folder", &place.folder))?;
    params.oom_score_refused = lower_oom_score().err().map(|error| error.to_string());
    let told = serde_json::to_vec(params).map_err(io::Error::from);
    told.and_then(|told| file::replace(&place.params(), &told, 0o600))
        .map_err(step("write", &place.params()))?;
    // The word of a guard that was replaced.
    let _ = fs::remove_file(place.guard());
    let listener = bind(&place.socket).map_err(step("listen on", &place.socket))?;
    let spawned = spawn(params, listener).map_err(step("start the guard of", &place.folder));
    if spawned.is_err() {
        // Nobody listens there any more.
        let _ = fs::remove_file(&place.socket);
    }
    spawned
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Closed to others from its first moment: the file has the mode of the socket that is bound to it (unix(7)). A umask
    // would be that of every thread.
    let unbound =
        nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fchmod(&unbound, Mode::S_IRUSR | Mode::S_IWUSR)?;
    nix::sys::socket::bind(unbound.as_raw_fd(), &UnixAddr::new(socket)?)?;
    listen(&unbound, Backlog::MAXCONN)?;
    Ok(unbound.into())
}

fn spawn(params: &ServeParams, listener: UnixListener) -> io::Result<Identity> {
    // Not through /proc/self/exe where it can be helped: the process would be called "exe".
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()));
    command
        .args(["-namespace", &params.namespace])
        .args(["-id", &params.sandbox])
        .args(["-address", &params.address])
        .args(params.debug.then_some("-debug"))
        .env("GOMAXPROCS", "2")
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ours until the spawn, never the bundle: a removed working directory fails getwd.
        .current_dir("/")
        // Signals to containerd's own group are not for the guard.
        .process_group(0);
    let child = command.spawn()?;
    Identity::of(i32::try_from(child.id()).map_err(io::Error::other)?)
}

/// Inherited by the guard and, from it, by the real shim. Needs CAP_SYS_RESOURCE, which not every
/// containerd has; a pod without it is better than no pod.
fn lower_oom_score() -> io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now: Option<i32> = fs::read_to_string(FILE)?.trim().parse().ok();
    if now.is_some_and(|now| now <= OOM_SCORE) {
        return Ok(());
    }
    fs::write(FILE, OOM_SCORE.to_string())
}

/// The guard's side: what it was told, and the socket that it serves. Says which process it is, for those who
/// find it silent.
pub fn adopt(base: &Base, target: &Target) -> Result<(ServeParams, UnixListener), LaunchError> {
    let by_hand = || LaunchError::ByHand { sandbox: target.id.clone() };
    let place = Place::of(base, &target.address, &target.namespace, &target.id, None)?;
    let params = ServeParams::of(&place).ok_or_else(by_hand)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(step("take over", &params.place.socket))?;
    let listener = UnixListener::from(stdin);
    let served = listener.local_addr().ok();
    if served.and_then(|address| address.as_pathname().map(Path::to_owned)).as_ref()
        != Some(&params.place.socket)
    {
        return Err(by_hand());
    }
    let null = fs::File::open("/dev/null").map_err(step("open", Path::new("/dev/null")))?;
    nix::unistd::dup2_stdin(null).map_err(|errno| step("leave", &params.place.socket)(errno.into()))?;
    // Only `start` and `delete` read it, and they can do without.
    let _ = Identity::me().and_then(|me| {
        let me = serde_json::to_vec(&me).map_err(io::Error::from)?;
        file::replace(&params.place.guard(), &me, 0o600)
    });
    Ok((params, listener))
}

/// The living guard of this place, by its own word or else by `hint`, if root runs it and its command line does not say
/// otherwise: a file may be old, damaged or forged. Where the kernel does not tell the command line in time (see
/// [`procfs::bounded`]), pid and start time in a file of root's have to do: a guard that is taken for dead costs a
/// healthy sandbox its life.
pub fn guard_of(place: &Place, hint: Option<Identity>) -> Option<Identity> {
    let word =
        file::read(&place.guard(), MAX_PARAMS).ok().and_then(|word| serde_json::from_slice(&word).ok());
    let vantage = Vantage::new();
    let is_guard = |one: &Identity| {
        let serves = || match procfs::command_line(one.pid) {
            Ok(argv) => serves(&argv, &place.folder),
            Err(error) => error.kind() == io::ErrorKind::TimedOut,
        };
        one.pid > 1 && one.is_alive() && vantage.is_root(one.pid) && serves()
    };
    [word, hint].into_iter().flatten().find(is_guard)
}

/// PATH, as containerd passes it.
pub fn path() -> Option<OsString> {
    std::env::var_os("PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(path: &Path) {
        fs::write(path, b"#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_real_shim_is_found_as_containerd_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let shim = dir.path().join("shim");
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        fs::write(&shim, b"").unwrap();
        let error = find_shim("shim", Some(&path)).unwrap_err().to_string();
        assert!(error.starts_with("the real shim \"shim\" is in no folder of containerd's PATH (/nowhere:"));
        assert!(find_shim(shim.to_str().unwrap(), None).unwrap_err().to_string().contains("no executable"));
        executable(&shim);
        assert_eq!(find_shim("shim", Some(&path)).unwrap(), shim);
        assert_eq!(find_shim(shim.to_str().unwrap(), None).unwrap(), shim);
        assert!(find_shim("shim", None).is_err());
    }

    #[test]
    fn the_socket_is_closed_to_others_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        drop(bind(&socket).unwrap());
        let listener = bind(&socket).unwrap();
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
    }
}
