//! Injects a fault into real parts.

use super::{
    Cell, Fault, Part, Request,
    bite::Sign,
    gate::{Place, Shut, TO_THE_GATE},
    subject::Subject,
    victim::Victim,
};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Asked, Fuse, SOON,
    disk::Filled,
    eventually,
    faults::{self, Full, Sandbox},
    process::Process,
};
use rustix::{
    fs::{Mode, OFlags, fstat, open},
    io::{Errno, write},
    process::Signal,
};
use std::{
    path::Path,
    sync::Arc,
    thread::{self, Scope},
    time::Instant,
};

/// What keeps a fault in force until it is dropped.
pub(super) type Held = Vec<Box<dyn Send>>;

/// Injects the fault of `cell`; by what one sees that it is felt. What takes its time (a guard that is continued after a while) does so in `scope`.
pub(super) fn inject<'scope, 'a: 'scope>(
    cell: &Cell,
    victim: &'scope Victim<'a>,
    scope: &'scope Scope<'scope, '_>,
) -> Result<(Held, Sign)> {
    let host = victim.bench().host();
    let gate = victim.bench().gate();
    let mut sign = Sign::Done;
    let sandbox = || Sandbox::of(host, victim.sandbox());
    let mut held: Held = Vec::new();
    match cell.fault {
        Fault::None => victim.assert_works()?,
        Fault::Stopped(part) => {
            let stopped = processes(part, victim)?;
            for process in stopped.iter().filter(|process| process.is_alive()) {
                faults::stop(process)?;
            }
            sign = Sign::Stopped(stopped);
        }
        Fault::Killed(part) => {
            for process in processes(part, victim)? {
                process.signal(Signal::KILL)?;
            }
        }
        Fault::Frozen => sandbox()?.freeze()?,
        Fault::FuseHung | Fault::MmapLockHeld | Fault::FuseUnwritten => {
            held.push(Box::new(hang_volume(cell, victim, scope)?));
            sign = Sign::Waited(victim.fuse().context("no FUSE volume")?);
        }
        Fault::Hangs(_) | Fault::Fails(..) | Fault::DeleteHung => {
            let commands = cell.fault.commands();
            for command in &commands {
                match cell.fault {
                    Fault::Fails(when, _) => gate.fail(when, command)?,
                    _ => gate.hang(command)?,
                }
            }
            sign = Sign::Met(commands);
        }
        Fault::LockHeld => {
            let lock = faults::hold_lock(host, victim.ctr(), victim.target())?;
            sign = Sign::Locked(fstat(&lock)?.st_ino);
            held.push(Box::new(lock));
        }
        Fault::CreateStuck => held.extend(stick_create(cell, victim, scope)?),
        Fault::StdoutFull => fill_fifo(&victim.stdout()?)?,
        Fault::ContainerdRestarted => {
            host.end_containerd(Signal::TERM)?;
            host.start_containerd()?;
        }
        Fault::ContainerdKilled => host.restart_containerd()?,
        Fault::StoppedAfterRestart => {
            let before = sandbox()?;
            host.restart_containerd()?;
            ensure!(before.sentry.is_alive(), "the sentry has gone with containerd");
            let cri = victim.bench().cri();
            eventually(SOON, "CRI has found its pods again", || cri.pods(SOON).ok())?;
            victim.assert_works().context("after the restart")?;
            before.stop_sentry()?;
        }
        Fault::GuardStopped => {
            let guard = guard(victim).context("no guard")?;
            faults::stop(&guard)?;
            sign = Sign::Stopped(vec![guard.clone()]);
            scope.spawn(move || {
                // The fault itself, not a wait for a fact.
                thread::sleep(Fault::GUARD_STOPPED);
                // It cannot have ended while it was stopped, unless somebody has cleared away.
                let _ = guard.signal(Signal::CONT);
            });
        }
        Fault::NoThread => {
            let full = Full::around(&guard(victim).context("no guard")?)?;
            scope.spawn(move || {
                // The fault itself, not a wait for a fact.
                thread::sleep(Fault::NO_THREAD);
                drop(full);
            });
            sandbox()?.stop_sentry()?;
        }
        Fault::NodeShutdown => shut_down(victim)?,
        Fault::DiskFull => {
            sign = Sign::Full(host.log().len());
            for disk in victim.bench().disks() {
                held.push(Box::new(Filled::new(&disk)?));
            }
        }
    }
    Ok((held, sign))
}

/// The node goes down and comes up again. What lives on meanwhile is an error of the guard's; gVisor's own shim has
/// promised nothing.
fn shut_down(victim: &Victim<'_>) -> Result<()> {
    let host = victim.bench().host();
    let shims: Vec<Process> = guard(victim).into_iter().chain(real_shim(victim)).collect();
    let is_shim = |process: &Process| shims.iter().any(|shim| shim.pid == process.pid);
    let all = Process::with_descendants(is_shim);
    host.end_containerd(Signal::TERM)?;
    let told = Instant::now();
    faults::terminate(&shims);
    let gone = all
        .iter()
        .try_for_each(|process| process.gone_within(Fault::GONE_WITHIN.saturating_sub(told.elapsed())));
    host.start_containerd()?;
    if victim.bench().is_guarded() { gone.context("lives on while the node goes down") } else { Ok(()) }
}

/// The processes of a part.
fn processes(part: Part, victim: &Victim<'_>) -> Result<Vec<Process>> {
    let host = victim.bench().host();
    let sandbox = || Sandbox::of(host, victim.sandbox());
    Ok(match part {
        Part::Sentry => vec![sandbox()?.sentry],
        Part::Gofer => vec![gofer(&sandbox()?, victim.target())?],
        Part::Stubs => {
            let sandbox = sandbox()?;
            eventually(SOON, "stubs", || Some(sandbox.stubs()).filter(|stubs| !stubs.is_empty()))?
        }
        Part::RealShim => vec![real_shim(victim).context("no real shim")?],
        Part::Everything => sandbox()?.all_but_guard(),
        Part::Guard => vec![guard(victim).context("no guard")?],
        Part::Command => vec![command(victim)?],
    })
}

/// The guard of the victim.
pub(super) fn guard(victim: &Victim<'_>) -> Option<Process> {
    shim(victim, "containerd-shim-runsc-guard-v2")
}

/// Its real shim; there is one also where the sandbox is gone.
pub(super) fn real_shim(victim: &Victim<'_>) -> Option<Process> {
    shim(victim, "containerd-shim-runsc-v1")
}

fn shim(victim: &Victim<'_>, program: &str) -> Option<Process> {
    victim.bench().host().processes().into_iter().find(|process| {
        let daemon = !process.args.iter().any(|arg| arg == "start" || arg == "delete");
        daemon
            && process.args.first().is_some_and(|arg| arg.ends_with(program))
            && process.arg_after("-id") == Some(victim.sandbox())
    })
}

/// The gofer of one container. Of a pod's container that is being created or deleted there may be none: any
/// other of the pod will do.
fn gofer(sandbox: &Sandbox, target: &str) -> Result<Process> {
    let all = sandbox.all_but_guard();
    let mut gofers: Vec<Process> = all
        .into_iter()
        .filter(|process| process.args.first().is_some_and(|arg| arg == "runsc-gofer") && process.is_alive())
        .collect();
    gofers.sort_by_key(|gofer| gofer.args.last().is_some_and(|id| id == target));
    gofers.pop().context("no gofer")
}

/// The runsc command that the request needs: the script that is held. Where it needs none: `runsc wait`.
fn command(victim: &Victim<'_>) -> Result<Process> {
    let held = victim.cell().gate().map(|(_, command)| command);
    let script = victim.bench().gate().script().to_string_lossy();
    let wanted = |process: &Process| {
        let about = |word: &str| process.args.iter().any(|arg| arg == word);
        let here = match held {
            Some(command) => about(command) && about(&script),
            None => about("wait"),
        };
        here && about(victim.target()) && process.is_alive()
    };
    eventually(SOON, "the runsc command of the request", || {
        victim.bench().host().processes().into_iter().find(|process| wanted(process))
    })
}

/// A file system that ends when this is dropped.
struct Ends(Arc<Fuse>);

impl Drop for Ends {
    fn drop(&mut self) {
        // What would not go is found among what is left.
        let _ = self.0.end();
    }
}

/// The volume hangs for a while; where a container runs that looks into it, somebody waits.
fn hang_volume<'scope>(
    cell: &Cell,
    victim: &'scope Victim<'_>,
    scope: &'scope Scope<'scope, '_>,
) -> Result<Ends> {
    let fuse = victim.fuse().context("no FUSE volume")?;
    let runs = !cell.request.makes_the_container() && cell.request != Request::Delete;
    match (cell.fault, runs) {
        (Fault::MmapLockHeld, true) => {
            let sandbox = Sandbox::of(victim.bench().host(), victim.sandbox())?;
            faults::hold_mmap_lock(&fuse, &sandbox)?;
        }
        (Fault::FuseUnwritten, true) => {
            fuse.hang_in(&[Asked::Write]);
            faults::await_held(&fuse)?;
        }
        (Fault::MmapLockHeld | Fault::FuseUnwritten, false) => fuse.hang_in(&[Asked::Write]),
        (_, true) => faults::hang_fuse(&fuse)?,
        (_, false) => fuse.hang(),
    }
    if cell.fault == Fault::FuseUnwritten && cell.subject == Subject::Pod {
        return Ok(Ends(fuse));
    }
    let answers = Arc::clone(&fuse);
    scope.spawn(move || {
        // The fault itself, not a wait for a fact.
        thread::sleep(Fault::FUSE_HUNG);
        answers.answer();
    });
    Ok(Ends(fuse))
}

/// A Create that never returns: the request itself, or another one before it.
fn stick_create<'scope, 'a: 'scope>(
    cell: &Cell,
    victim: &'scope Victim<'a>,
    scope: &'scope Scope<'scope, '_>,
) -> Result<Option<Box<dyn Send>>> {
    if cell.is_itself_stuck() {
        return Ok(None);
    }
    let limit = TO_THE_GATE + cell.limit();
    if cell.is_never_made() {
        scope.spawn(move || victim.asked("the Create that is stuck", limit, || victim.bare_run(limit)));
        return Ok(None);
    }
    let shut: Shut = victim.bench().gate().shut(Place::After, "create")?;
    scope.spawn(move || victim.asked("the Create that is stuck", limit, || victim.start_another(limit)));
    shut.await_reached(SOON)?;
    Ok(Some(Box::new(shut)))
}

/// Fills a FIFO that nobody empties; who has read a little of it is overtaken.
fn fill_fifo(path: &Path) -> Result<()> {
    let fifo = open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| path.display().to_string())?;
    let block = [b'.'; 4096];
    let mut full = 0;
    eventually(SOON, "a full FIFO", || {
        full += 1;
        loop {
            match write(&fifo, &block) {
                Ok(_) => full = 0,
                Err(Errno::AGAIN) => break,
                Err(_) => return None,
            }
        }
        (full == 20).then_some(())
    })
}
