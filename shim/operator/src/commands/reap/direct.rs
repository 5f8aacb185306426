//! The end of a sandbox without a guard that could do it: the library's own escalation, under a lock, so that neither
//! a `delete` nor another `reap` works on the same one.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use runsc_guard_core::io::StepKind;
use runsc_guard_core::policy::budgets;
use runsc_guard_node::config::Config;
use runsc_guard_node::lock::Lock;
use runsc_guard_node::paths::{Base, Place};
use runsc_guard_node::recovery;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::resources::inventory::Released;
use runsc_guard_sandbox::resources::mount_namespace::MountNamespace;
use runsc_guard_sandbox::sys::kernel::wait_all;
use runsc_guard_sandbox::teardown::sequence::{Observer, Patience, Sequence};

use super::account::Account;
use super::current::{ensure_current, newborn};
use super::keepers::{Keepers, sockets};
use super::plan::Plan;
use super::progress::{End, Progress};
use crate::survey::model::{Found, Guard, Sandbox};
use crate::survey::scope::{namespace_of, scopes, try_connect};

/// How long another one may hold the lock: a whole escalation.
const LOCKED: Duration = Duration::from_secs(5);
/// Each of the two steps that kill, on a node that may be very busy.
const KILL: Duration = Duration::from_secs(3);
/// Releasing what the sandbox held.
const RELEASE: Duration = Duration::from_secs(2);
/// What a killed shim may take to die.
const SHIM_DIES: Duration = Duration::from_secs(1);
/// What cannot be killed is freed for so long: a FUSE server's silence takes ten seconds to prove.
const STUCK: Duration = Duration::from_secs(12);

/// What to say of processes that outlive SIGKILL.
const STUCK_ON: &str = "SIGKILL was sent, they die as soon as the kernel lets them";

/// Ends it.
pub(super) fn end(plan: &Plan, report_dir: &Path, progress: &Progress<'_>) -> Result<End> {
    let found = &plan.sandbox.found;
    let _lock = lock(found)?;
    ensure_current(plan)?;
    let home = home(found, progress);
    let mut account = observe(&plan.sandbox, report_dir, progress);
    let end = work_in(&home, &mut account, progress, |witness| match (&found.guard, &found.place) {
        (Guard::None, _) | (_, None) => unguarded(plan, witness),
        (_, Some(place)) => in_guards_place(found, place, witness),
    });
    account.end(&end.left);
    Ok(end)
}

/// Where containerd and the shims see what they have mounted: what is said there is said of paths there.
fn home(found: &Found, progress: &Progress<'_>) -> MountNamespace {
    let home = namespace_of(found).unwrap_or_else(|error| {
        progress.line("note", &format!("mount namespaces cannot be compared: {error}"));
        MountNamespace::default()
    });
    if let Some(pid) = home.elsewhere() {
        progress
            .line("note", &format!("its mounts are in the mount namespace of pid {pid}, which is entered"));
    }
    home
}

/// Does the work in that mount namespace, in a thread of its own; the report is written here.
fn work_in(
    home: &MountNamespace,
    account: &mut Account,
    progress: &Progress<'_>,
    work: impl FnOnce(&Witness) -> End + Send,
) -> End {
    let (said, heard) = mpsc::channel();
    thread::scope(|threads| {
        let there = move || {
            let unseen = home.enter().err().map(|error| {
                let pid = home.elsewhere().unwrap_or_default();
                format!("what is mounted in the mount namespace of pid {pid}: it cannot be entered: {error}")
            });
            let mut end = work(&Witness(said));
            end.left.extend(unseen);
            end
        };
        let failed = |why: &str| End { left: vec![format!("it is not known what: {why}")], ..End::default() };
        let worker = match thread::Builder::new().spawn_scoped(threads, there) {
            Ok(worker) => worker,
            Err(error) => {
                return failed(&format!("nothing was done, no thread can be made: {error}; try again"));
            }
        };
        heard.into_iter().for_each(|one: Said| one.tell(account, progress));
        worker.join().unwrap_or_else(|_| failed("reap itself has failed"))
    })
}

/// What is told while it is ended.
enum Said {
    Begins(StepKind, Instant),
    Ends(StepKind, Vec<String>),
    Happened(String),
    Released(Vec<Released>),
}

impl Said {
    /// To whoever looks at the terminal, and to the report.
    fn tell(self, account: &mut Account, progress: &Progress<'_>) {
        match self {
            Self::Begins(step, until) => account.step_begins(step, until),
            Self::Ends(step, left) => {
                account.step_ends(step, &left);
                progress.line(&step.as_str().replace('_', " "), &left.join("; "));
            }
            Self::Happened(line) => {
                account.happened(&line);
                progress.line("note", &line);
            }
            Self::Released(released) => account.released(released),
        }
    }
}

/// Who passes on what is told.
struct Witness(mpsc::Sender<Said>);

impl Witness {
    fn say(&self, said: Said) {
        // Who would hear it waits until this one is gone.
        let _ = self.0.send(said);
    }
}

impl Observer for Witness {
    fn begins(&self, step: StepKind, until: Instant) {
        self.say(Said::Begins(step, until));
    }

    fn ends(&self, step: StepKind, left: &[String]) {
        self.say(Said::Ends(step, left.to_owned()));
    }

    fn happened(&self, line: &str) {
        self.say(Said::Happened(line.to_owned()));
    }

    fn released(&self, released: Vec<Released>) {
        self.say(Said::Released(released));
    }
}

/// A guarded sandbox has a lock of its own, which `start` and `delete` take too.
pub(super) fn lock(found: &Found) -> Result<Lock> {
    let unguarded = || Base::default().runtime.join(format!("reap-{}-{}.lock", found.namespace, found.id));
    let path = found.place.as_ref().map_or_else(unguarded, |place| place.lock.clone());
    Lock::take(&path, Instant::now() + LOCKED).context("somebody else is ending it")
}

/// Looks, and touches nothing.
fn observe(sandbox: &Sandbox, report_dir: &Path, progress: &Progress<'_>) -> Account {
    let account = Account::begin(sandbox, report_dir);
    let (count, file) = (account.seen(), account.file());
    let what = match &account.written {
        Ok(()) => format!("{count} processes, {file}"),
        Err(error) => format!("{count} processes, no report in {}: {error}", report_dir.display()),
    };
    progress.line(StepKind::Diagnose.as_str(), &what);
    account
}

/// Who waits for what is ended here from now on: an operator, on a node that may be very busy.
fn patience() -> Patience {
    let dead = Instant::now() + KILL;
    Patience { dead, overload: budgets::OVERLOAD, over: dead + STUCK }
}

/// The whole of it, guard and real shim included; how it ended is written down for containerd's `delete`.
fn in_guards_place(found: &Found, place: &Place, witness: &Witness) -> End {
    let keepers = Keepers::of(found);
    let bundle = found.containers.first().map(|root| root.bundle.clone()).unwrap_or_default();
    let mut record = recovery::reconstruct(place, &found.namespace, &found.id, &found.id, &bundle);
    let left = recovery::cleanup(&mut record, place, patience(), witness);
    End { left, note: keepers.who_clears_up() }
}

fn unguarded(plan: &Plan, witness: &Witness) -> End {
    let found = &plan.sandbox.found;
    let scopes = scopes(found);
    // What a guard would be allowed unless it is told otherwise.
    let sequence = Sequence::new((&Config::default()).into());
    // Before anything is killed: a shim's own word for where it listens goes with the bundle.
    let (sockets, keepers) = (sockets(found), Keepers::of(found));
    let shims_go_on = !found.real_shims.is_empty() && found.real_shims.iter().all(|shim| !shim.is_held());
    if shims_go_on {
        let left = sequence.run_below_shims(&scopes, patience(), witness);
        if !left.is_empty() {
            let left = left.iter().map(|one| format!("process: {one}")).collect();
            return End { left, note: format!("{STUCK_ON}, and the real shim reports the exit") };
        }
        match keepers.tell() {
            Ok(()) => return by_real_shims(&keepers, &sequence, &scopes, witness),
            // Who collects the exits may have started it anew at once.
            Err(_) if newborn(plan).is_some() => {
                return End {
                    note: "it was started again, and that one is let alone".to_owned(),
                    ..End::default()
                };
            }
            Err(why) => witness.happened(&format!("the real shim does not do the rest: {why}")),
        }
    }
    sequence.learn(&scopes);
    end_shims(found);
    let left = sequence.run(&scopes, patience(), witness);
    let mut left: Vec<String> = left.iter().map(ToString::to_string).collect();
    left.extend(sockets.iter().filter_map(|socket| remove_socket(socket).err()));
    End { left, note: keepers.who_clears_up() }
}

/// The real shims have told how it ended, and serve until containerd has collected that. What it has them delete is
/// released by `runsc delete`, unless that would refuse.
fn by_real_shims(keepers: &Keepers, sequence: &Sequence, scopes: &[Scope], witness: &Witness) -> End {
    let refused = keepers.refused_by_runsc();
    let mut left = Vec::new();
    if !refused.is_empty() {
        // Without a state file there is nothing to refuse: then the real shim deletes what it has, and that is all.
        witness.happened(&format!("runsc delete would refuse {}: it is released here", refused.join(", ")));
        let until = Instant::now() + RELEASE;
        witness.begins(StepKind::Release, until);
        left = sequence.release(scopes, until, witness).iter().map(ToString::to_string).collect();
        witness.ends(StepKind::Release, &left);
    }
    End { left, note: keepers.who_collects() }
}

/// Kills those above the sandbox: each is the process that the survey has proved, or none.
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
    if is_socket && try_connect(path) == Err(Errno::ECONNREFUSED) {
        return fs::remove_file(path).map_err(|error| format!("file: {}: {error}", path.display()));
    }
    Ok(())
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
