//! The end of a sandbox without a guard that could do it: the library's own ladder, under a lock, so that neither
//! a `delete` nor another `reap` works on the same one.

use std::cell::RefCell;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use runsc_guard::policy::rungs;
use shim::config::Config;
use shim::kernel::wait_all;
use shim::lock::Lock;
use shim::orphan;
use shim::place::{Base, Place};
use shim::report::Released;
use shim::sandbox::process::Role;
use shim::sandbox::teardown::sequence::{Observer, Patience, Sequence};

use super::account::Account;
use super::{End, Progress, until};
use crate::args::Reap;
use crate::model::{Found, Guard, Sandbox, Task};
use crate::show::details::{processes, scopes, sockets};

/// How long another one may hold the lock: a whole ladder.
const LOCKED: Duration = Duration::from_secs(5);
/// Rungs 2 and 3 each, on a node that may be very busy.
const KILL: Duration = Duration::from_secs(3);
/// What a real shim may take to see its sandbox die and to report that.
const REPORTS: Duration = Duration::from_secs(3);
/// What a killed shim may take to die.
const SHIM_DIES: Duration = Duration::from_secs(1);
/// What cannot be killed is freed for so long: a FUSE server's silence takes ten seconds to prove.
const STUCK: Duration = Duration::from_secs(12);

/// What to say of processes that outlive SIGKILL.
const STUCK_ON: &str = "SIGKILL was sent, they die as soon as the kernel lets them";

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
    let witness = Witness { account: RefCell::new(observe(sandbox, args, progress)), progress };
    let end = match (&found.guard, &found.place) {
        (Guard::None, _) | (_, None) => unguarded(found, &witness),
        (_, Some(place)) => in_guards_place(found, place, &witness),
    };
    witness.account.borrow_mut().end(&end.left);
    Ok(end)
}

/// Who is told: whoever looks at the terminal, and the report.
struct Witness<'a> {
    account: RefCell<Account>,
    progress: &'a Progress,
}

impl Observer for Witness<'_> {
    fn begins(&self, step: &str, until: Instant) {
        self.account.borrow_mut().rung_begins(step, until);
    }

    fn ends(&self, step: &str, left: &[String]) {
        self.account.borrow_mut().rung_ends(step, left);
        self.progress.line(step, &left.join("; "));
    }

    fn happened(&self, line: &str) {
        self.account.borrow_mut().happened(line);
        self.progress.line("note", line);
    }

    fn released(&self, released: Vec<Released>) {
        self.account.borrow_mut().released(released);
    }
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
    progress.line("evidence", &what);
    account
}

/// Who waits for what is ended here from now on: an operator, on a node that may be very busy.
fn patience() -> Patience {
    let dead = Instant::now() + KILL;
    Patience { dead, overload: rungs::OVERLOAD, over: dead + STUCK }
}

/// The whole of it, guard and real shim included; how it ended is written down for containerd's `delete`.
fn in_guards_place(found: &Found, place: &Place, witness: &Witness) -> End {
    let bundle = found.containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let mut record = orphan::learn(place, &found.namespace, &found.id, &found.id, &bundle);
    let left = orphan::bury(&mut record, place, patience(), witness);
    End { left, note: "containerd learns the exits (137) when it next asks".to_owned() }
}

fn unguarded(found: &Found, witness: &Witness) -> End {
    let scopes = scopes(found);
    // What a guard would be allowed unless it is told otherwise.
    let sequence = Sequence::new((&Config::default()).into());
    // Before anything is killed: a shim's own word for where it listens goes with the bundle.
    let sockets = sockets(found);
    let shims_go_on = !found.real_shims.is_empty() && found.real_shims.iter().all(|shim| !shim.is_held());
    if shims_go_on {
        let left = sequence.run_below_shims(&scopes, patience(), witness);
        if !left.is_empty() {
            let left = left.iter().map(|remnant| format!("process: {remnant}")).collect();
            return End { left, note: format!("{STUCK_ON}, and the real shim reports the exit") };
        }
        if until(REPORTS, || only_shims_are_left(found)) {
            let pids: Vec<String> = found.real_shims.iter().map(pid).collect();
            let (pids, what) =
                (pids.join(", "), "has the exits, containerd collects them and releases the rest");
            return End { left: Vec::new(), note: format!("its real shim ({pids}) {what}") };
        }
        witness.progress.line("the real shim does not go on", "");
    }
    sequence.learn(&scopes);
    end_shims(found);
    let left = sequence.run(&scopes, patience(), witness);
    let mut left: Vec<String> = left.iter().map(ToString::to_string).collect();
    left.extend(sockets.iter().filter_map(|socket| remove_socket(socket).err()));
    End { left, note: "containerd learns the exits when it finds the real shim gone".to_owned() }
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

fn only_shims_are_left(found: &Found) -> bool {
    processes(found).iter().all(|process| process.role == Role::RealShim)
}

fn pid(task: &Task) -> String {
    task.identity.pid.to_string()
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
