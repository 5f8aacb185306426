//! The real shim: gVisor's daemon, started by the guard itself and not through its `start`.
//!
//! So its pid is certain, one process start is saved, and an OOM score that may not be lowered is no failure
//! (gVisor pkg/shim/v1/manager.go dies of it). Its working directory is the guard's private folder: there it
//! finds its `log` FIFO and no `address` file, whose socket it would unlink at its exit.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::shim_pool::ShimId;
use runsc_guard_node::params::ServeParams;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::kernel;

/// A real shim that was just started, with the guard's ends of what they share.
pub(crate) struct RealShim {
    pub(crate) identity: Identity,
    /// What it logs.
    pub(crate) log: File,
    /// Where it publishes.
    pub(crate) events: UnixListener,
}

/// Starts the first one, and what all of the pod's share.
pub(crate) fn start(params: &ServeParams) -> anyhow::Result<RealShim> {
    let place = &params.place;
    let events = listen(&place.events_socket())?;
    let log = log_fifo(&place.log())?;
    let identity = spawn(params, ShimId::FIRST)?;
    Ok(RealShim { identity, log, events })
}

/// Starts one. Its socket listens already and is handed over, so a connection never has to wait for it to
/// come up.
pub(crate) fn spawn(params: &ServeParams, shim: ShimId) -> anyhow::Result<Identity> {
    let place = &params.place;
    let socket = listen(&shim.socket(place))?;
    let mut command = Command::new(&params.shim);
    command
        .args(["-namespace", &params.namespace, "-address", &params.address, "-id", &params.sandbox])
        .args(params.debug.then_some("-debug"))
        .env("TTRPC_ADDRESS", place.events_socket())
        .current_dir(&place.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Its last words, should it panic: before 2026 it does not put its log there itself.
        .stderr(open_fifo(&place.log())?)
        .process_group(0);
    kernel::pass_as_fd3(&mut command, OwnedFd::from(socket));
    let mut child =
        command.spawn().with_context(|| format!("cannot start the real shim {}", params.shim.display()))?;
    let identity = Identity::of(i32::try_from(child.id())?);
    if identity.is_err() {
        // Nobody would know it. It is a child that nobody has waited for, so that its pid is still its own.
        let _ = child.kill();
    }
    identity.with_context(|| format!("cannot tell which process the real shim {} is", params.shim.display()))
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    let _ = fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The FIFO that the real shim logs into, with its reader: the real shim's start waits for one (containerd
/// pkg/shim/shim_unix.go, `openLog`).
fn log_fifo(path: &Path) -> anyhow::Result<File> {
    let _ = fs::remove_file(path);
    mkfifo(path, Mode::from_bits_truncate(0o600))
        .with_context(|| format!("cannot make the FIFO {}", path.display()))?;
    open_fifo(path)
}

/// Both ends at once, and never waiting: a log that nobody takes must stop nobody.
fn open_fifo(path: &Path) -> anyhow::Result<File> {
    let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    open.with_context(|| format!("cannot open the FIFO {}", path.display()))
}
