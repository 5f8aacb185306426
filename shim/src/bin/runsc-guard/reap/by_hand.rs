//! The end of a sandbox without a guard that could do it: the library's own ladder, under a lock, so that neither
//! a `delete` nor another `reap` works on the same one.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use shim::kernel::wait_all;
use shim::lock::Lock;
use shim::orphan;
use shim::place::{Base, Place};
use shim::report::Inventory;
use shim::sandbox::Scope;
use shim::sandbox::holdings::Holdings;
use shim::sandbox::process::Role;
use shim::sandbox::prove::prove;
use shim::sandbox::release::release;
use shim::sandbox::remnant::Remnant;
use shim::sandbox::teardown::{kill_all, kill_sandbox};

use super::account::Account;
use super::{End, Progress, until};
use crate::args::Reap;
use crate::model::{Found, Guard, Sandbox, Task};
use crate::show::details::{holdings, processes, scopes, sockets};

/// How long another one may hold the lock: a whole ladder.
const LOCKED: Duration = Duration::from_secs(5);
/// Rungs 2 and 3 each, on a node that may be very busy.
const KILL: Duration = Duration::from_secs(3);
/// What a real shim may take to see its sandbox die and to report that.
const REPORTS: Duration = Duration::from_secs(3);
/// What a killed shim may take to die.
const SHIM_DIES: Duration = Duration::from_secs(1);
/// Rungs 4 and 5.
const RELEASE: Duration = Duration::from_secs(2);

/// What to say of processes that outlive SIGKILL.
const STUCK: &str = "SIGKILL was sent, they die as soon as the kernel lets them";

/// Ends it.
pub(crate) fn end(sandbox: &Sandbox, args: &Reap, progress: &Progress) -> Result<End> {
    let found = &sandbox.found;
    let _lock = lock(found)?;
    if let Some(sentry) = &found.sentry {
        let id = &found.id;
        ensure!(
            sentry.identity.is_alive(),
            "the sentry of {id} has ended since it was looked at; look again"
        );
    }
    // Before anything is killed: a real shim that sees its sandbox die, and containerd when a shim is dead, remove
    // what tells.
    let mut holdings = holdings(found);
    let inventory = Inventory::of(&holdings);
    let mut account = observe(sandbox, args, progress);
    let end = match (&found.guard, &found.place) {
        (Guard::None, _) | (_, None) => unguarded(found, &mut holdings, &mut account, progress),
        (_, Some(place)) => in_guards_place(found, place, &mut account, progress),
    }?;
    account.end(inventory, &holdings, &end.left);
    Ok(end)
}

/// A guarded sandbox has a lock of its own, which `start` and `delete` take too.
fn lock(found: &Found) -> Result<Lock> {
    let unguarded = || Base::default().runtime.join(format!("reap-{}-{}.lock", found.namespace, found.id));
    let path = found.place.as_ref().map_or_else(unguarded, |place| place.lock.clone());
    Lock::take(&path, Instant::now() + LOCKED).context("somebody else is ending it")
}

/// Rung 1.
fn observe(sandbox: &Sandbox, args: &Reap, progress: &Progress) -> Account {
    let account = Account::begin(sandbox, &args.report_dir);
    let (count, file) = (account.seen(), account.file());
    let what = match &account.written {
        Ok(()) => format!("{count} processes, {file}"),
        Err(error) => format!("{count} processes, no report in {}: {error}", args.report_dir.display()),
    };
    progress.line("1 evidence", &what);
    account
}

/// The whole of it, guard and real shim included; how it ended is written down for containerd's `delete`.
fn in_guards_place(found: &Found, place: &Place, account: &mut Account, progress: &Progress) -> Result<End> {
    let bundle = found.containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let mut record = orphan::learn(place, &found.namespace, &found.id, &found.id, &bundle);
    progress.line("2-3 kill everything", &format!("{} containers, guard included", record.members.len()));
    let left = account.rung("kill all, release", KILL + RELEASE, |_| {
        let left = orphan::bury(&mut record, place, Instant::now() + KILL + RELEASE);
        (left.clone(), left)
    });
    progress.line("4-5 release and prove", "");
    Ok(End { left, note: "containerd learns the exits (137) when it next asks".to_owned() })
}

fn unguarded(
    found: &Found,
    holdings: &mut Holdings,
    account: &mut Account,
    progress: &Progress,
) -> Result<End> {
    let (scopes, sockets) = (scopes(found), sockets(found));
    let left = account.rung("kill sandbox", KILL, |_| {
        told(kill(&scopes, |scope, deadline| kill_sandbox(scope, deadline).left))
    });
    progress.line("2 kill the sandbox", &words(&left));
    let shims_go_on = !found.real_shims.is_empty() && found.real_shims.iter().all(|shim| !shim.is_held());
    if shims_go_on && !left.is_empty() {
        return Ok(End {
            left: processes_left(&left),
            note: format!("{STUCK}, and the real shim reports the exit"),
        });
    }
    if shims_go_on {
        if until(REPORTS, || only_shims_are_left(found)) {
            let pids: Vec<String> = found.real_shims.iter().map(pid).collect();
            let (pids, what) =
                (pids.join(", "), "has the exits, containerd collects them and releases the rest");
            return Ok(End { left: Vec::new(), note: format!("its real shim ({pids}) {what}") });
        }
        progress.line("the real shim does not go on", "");
    }
    end_shims(found);
    let left = account.rung("kill all", KILL, |_| told(kill(&scopes, kill_all)));
    progress.line("3 kill everything", &words(&left));
    if !left.is_empty() {
        // What lives may still use what would be released.
        let note = format!("{STUCK}; then reap what is left of it");
        return Ok(End { left: processes_left(&left), note });
    }
    let Some(scope) = scopes.last() else { bail!("nothing is known of it") };
    let left = account.rung("release", RELEASE, |_| {
        let released = release(scope, holdings, Instant::now() + RELEASE);
        let mut left: Vec<String> = sockets.iter().filter_map(|socket| remove_socket(socket).err()).collect();
        progress.line("4 release", "");
        let residue = if released.is_empty() { prove(scope, holdings) } else { released };
        progress.line("5 prove", "");
        left.extend(residue.iter().map(ToString::to_string));
        left.sort();
        left.dedup();
        (left.clone(), left)
    });
    Ok(End { left, note: "containerd learns the exits when it finds the real shim gone".to_owned() })
}

/// Rung 3 for those above the sandbox: each is the process that the survey has proved, or none.
fn end_shims(found: &Found) {
    let sent = found.real_shims.iter().filter_map(|shim| {
        let process = shim.identity.open().ok()?;
        process.send(Signal::SIGKILL).ok().map(|()| process)
    });
    wait_all(&sent.collect::<Vec<_>>(), Instant::now() + SHIM_DIES);
}

/// A shim that was killed leaves its socket. One that somebody listens on is not touched.
fn remove_socket(path: &Path) -> Result<(), String> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && is_dead(path) {
        return fs::remove_file(path).map_err(|error| format!("file: {}: {error}", path.display()));
    }
    Ok(())
}

/// Whether nobody listens any more. Does not wait where somebody does and takes no connection.
fn is_dead(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let refused = || {
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(stream.as_raw_fd(), &UnixAddr::new(path)?)
    };
    refused() == Err(Errno::ECONNREFUSED)
}

fn kill(scopes: &[Scope], rung: impl Fn(&Scope, Instant) -> Vec<Remnant>) -> Vec<Remnant> {
    let deadline = Instant::now() + KILL;
    let mut left: Vec<Remnant> = scopes.iter().flat_map(|scope| rung(scope, deadline)).collect();
    left.retain(|remnant| remnant.identity.is_alive());
    left.dedup_by_key(|remnant| remnant.identity);
    left
}

/// With what is left in words.
fn told(left: Vec<Remnant>) -> (Vec<Remnant>, Vec<String>) {
    let words = processes_left(&left);
    (left, words)
}

fn processes_left(left: &[Remnant]) -> Vec<String> {
    left.iter().map(|remnant| format!("process: {remnant}")).collect()
}

fn only_shims_are_left(found: &Found) -> bool {
    processes(found).iter().all(|process| process.role == Role::RealShim)
}

fn pid(task: &Task) -> String {
    task.identity.pid.to_string()
}

fn words(left: &[Remnant]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        remove_socket(&socket).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        remove_socket(&socket).unwrap();
        assert!(socket.exists());
        drop(listener);
        remove_socket(&socket).unwrap();
        assert!(!socket.exists());
        fs::write(&socket, "a file").unwrap();
        remove_socket(&socket).unwrap();
        assert!(socket.exists());
    }
}
