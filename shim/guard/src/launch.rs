//! Handing over from `start` to the guard: what it is told, and how it is started.
//!
//! The guard is this same binary, started anew without an action. Its listening socket is its stdin (as
//! inetd hands a socket to a `wait` service): no descriptor has to be passed by number, so no unsafe code
//! is needed on either side. What it must know lies in `params.json` in its private folder, where an operator
//! can also read with which configuration a guard runs. It keeps neither stdout nor stderr: containerd
//! waits until every holder of `start`'s pipes has closed them (`core/runtime/v2/binary.go`,
//! `CombinedOutput`). The environment is passed on as it is: it is what the real `start` would give to the
//! real shim.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, listen};
use nix::sys::stat::{Mode, fchmod};

use crate::cli::Target;
use runsc_guard_node::params::ServeParams;
use runsc_guard_node::paths::{self, Base, Place};
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::identity::Identity;

/// What the real `start` gives to gVisor's shim (`pkg/shim/v1/manager.go`, `shimOOMScore`): the kernel takes
/// it last.
const OOM_SCORE: i32 = -999;
/// Where the kernel takes it.
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// Why no guard was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
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
    Place(#[from] paths::PlaceError),
}

fn step(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let path = path.to_owned();
    move |source| LaunchError::Step { what, path, source }
}

/// Starts the guard and returns which process it is. containerd's connection waits in the socket's backlog
/// until the guard takes it, so nothing is waited for here.
pub fn launch(params: &mut ServeParams) -> Result<Identity, LaunchError> {
    let place = params.place.clone();
    place.create().map_err(step("create folder", &place.folder))?;
    params.oom_score_refused = lower_oom_score(OOM_SCORE_FILE).err().map(|error| error.to_string());
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
fn lower_oom_score(file: impl AsRef<Path>) -> io::Result<()> {
    let now: Option<i32> = fs::read_to_string(&file)?.trim().parse().ok();
    if now.is_some_and(|now| now <= OOM_SCORE) {
        return Ok(());
    }
    fs::write(file, OOM_SCORE.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn the_kernel_takes_the_guard_last_as_it_does_gvisors_shim() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (before, after) in [("0", "-999"), ("-998\n", "-999"), ("-1000\n", "-1000\n")] {
            fs::write(&file, before).unwrap();
            lower_oom_score(file.path()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), after);
        }
    }
}
