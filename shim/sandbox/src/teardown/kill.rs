//! Steps 2 and 3: ending a sandbox's processes.
//!
//! Whom descent and record prove is killed at once, before anybody is asked for a command line, which may never be
//! told. SIGKILL goes out first and the freezer is thawed after: a frozen process then dies with the first
//! instruction instead of running guest code for a moment. What is found is looked for again until there is
//! nothing left to kill, because a shim that lives may start another `runsc` at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Member;
use crate::Scope;
use crate::processes::find::{at_once, find};
use crate::processes::process::{Process, Role};
use crate::processes::sigkill::sigkill;
use crate::resources::cgroup;
use crate::sys::identity::Identity;
use crate::sys::kernel::{PidFd, wait_all};
use crate::teardown::stuck::StuckProcess;

/// How long one round waits before it looks (and thaws) again.
const ROUND: Duration = Duration::from_millis(100);
/// Descriptors kept to wait on. Stubs can be many; they die with their sentry, and the next round tells.
const WAITED_FOR: usize = 128;

/// Whom SIGKILL was sent to and who may not be dead. A dying process loses its command line and its program, by which it
/// was proved, before its life: so each hunt for a sandbox goes on from the one before.
pub type Signalled = BTreeMap<Identity, Process>;

/// What a hunt ends with.
#[derive(Default)]
pub struct Hunted {
    /// Those that live on, whoever signalled them.
    pub left: Vec<StuckProcess>,
    /// All that was found when it was looked last.
    seen: Vec<Process>,
}

impl Hunted {
    /// Both hunts, for one sandbox in two scopes.
    pub(crate) fn and(mut self, later: Self) -> Self {
        self.seen.extend(later.seen);
        Self { left: later.left, seen: self.seen }
    }

    /// Whether the real shim cannot tell how the containers ended: it is stopped, or the `runsc wait` is that tells it.
    pub fn cannot_report(&self) -> bool {
        let tells = |role: &Role| match role {
            Role::RealShim => true,
            Role::Runsc(subcommand) => subcommand == "wait",
            _ => false,
        };
        self.seen.iter().any(|process| tells(&process.role) && process.is_stopped())
    }
}

/// Step 2: ends the sandbox and every `runsc` command there is now, but neither the real shim nor its
/// `runsc wait`, whose end tells the real shim how each container ended. Commands that the real shim starts
/// afterwards, to clean up, are left to it.
pub fn kill_sandbox(scope: &Scope, signalled: &mut Signalled, deadline: Instant) -> Hunted {
    let first = FirstKill::at_sandbox(scope);
    first.send(signalled, deadline);
    let mut present: BTreeSet<Identity> = first.found.iter().map(|process| process.identity).collect();
    hunt(scope, signalled, deadline, |found| {
        if present.is_empty() {
            present = found.iter().map(|process| process.identity).collect();
        }
        let dies = |process: &&Process| match &process.role {
            Role::RealShim => false,
            Role::Runsc(subcommand) if subcommand == "wait" => false,
            Role::Sentry | Role::Gofer | Role::Stub | Role::Exec => true,
            Role::Runsc(_) | Role::Other => present.contains(&process.identity),
        };
        found.iter().filter(dies).cloned().collect()
    })
}

/// Step 3: ends the real shim, before it can start anything else, and all that belongs to the sandbox.
pub fn kill_all(scope: &Scope, signalled: &mut Signalled, deadline: Instant) -> Hunted {
    FirstKill::at_all(scope).send(signalled, deadline);
    hunt(scope, signalled, deadline, |found| found.to_vec())
}

/// The first SIGKILL: it needs no thread, and no look that could hang stands before it.
pub struct FirstKill {
    /// All that was there.
    found: Vec<Process>,
    /// Those that it was meant for.
    signalled: Signalled,
    /// Some of them, to wait for.
    fds: Vec<PidFd>,
}

impl FirstKill {
    /// Step 2's: sentry, gofers and stubs.
    pub fn at_sandbox(scope: &Scope) -> Self {
        Self::at(scope, |process| matches!(process.role, Role::Sentry | Role::Stub))
    }

    /// Step 3's: the real shim as well, and whatever it has started.
    pub fn at_all(scope: &Scope) -> Self {
        Self::at(scope, |_| true)
    }

    fn at(scope: &Scope, dies: impl Fn(&Process) -> bool) -> Self {
        let found = at_once(scope);
        let doomed = found.iter().filter(|process| dies(process));
        let signalled: Signalled = doomed.map(|one| (one.identity, one.clone())).collect();
        let fds = signal_these(&signalled);
        cgroup::thaw(&pids(&found), &own_cgroups(scope));
        Self { found, signalled, fds }
    }

    /// Who of those that it was meant for lives.
    pub fn left(&self) -> Vec<StuckProcess> {
        living(&self.signalled)
    }

    fn send(&self, signalled: &mut Signalled, deadline: Instant) {
        signalled.extend(self.signalled.clone());
        wait_all(&self.fds, deadline.min(Instant::now() + ROUND));
    }
}

/// Ends what one container's Create began, and only that: its `runsc create`, its gofer, whatever names its
/// bundle (the sentry if it is the root container), and what descends from these.
pub fn kill_create(scope: &Scope, member: &Member, signalled: &mut Signalled, deadline: Instant) -> Hunted {
    let is_root = scope.sandbox_id() == Some(&member.id);
    hunt(scope, signalled, deadline, |found| {
        let began = |process: &&Process| {
            let named = process.container().is_some_and(|id| id == member.id.as_str());
            let bundle = process.bundle() == Some(&member.bundle);
            match &process.role {
                Role::Runsc(subcommand) => bundle || subcommand == "create" && named,
                Role::Gofer => bundle || named,
                // Of one that does not tell its command line no more is known than that the sandbox has one.
                Role::Sentry => is_root && (bundle || named || process.argv.is_empty()),
                Role::RealShim | Role::Exec | Role::Stub | Role::Other => false,
            }
        };
        let mut doomed: BTreeSet<i32> =
            found.iter().filter(began).map(|process| process.identity.pid).collect();
        // Parents come before children, so one pass takes in every generation. The sentry of a pod may still be
        // a child of the `runsc create` that began it; of any other it is not.
        for process in found.iter().filter(|process| process.role != Role::Sentry || is_root) {
            if doomed.contains(&process.parent) {
                doomed.insert(process.identity.pid);
            }
        }
        found.iter().filter(|process| doomed.contains(&process.identity.pid)).cloned().collect()
    })
}

/// Ends the `runsc` commands about one container that has ended. Its gofer is left: the sentry would take the end of
/// that for its container's, and pause the whole sandbox to kill what is not there, with the lock that every question
/// takes (gVisor runsc/boot/loader.go, startGoferMonitor). It ends with the sandbox.
/// Nothing is thawed for it.
pub fn kill_commands(scope: &Scope, member: &Member, deadline: Instant) {
    let about = |process: &&Process| {
        let named = process.container().is_some_and(|id| id == member.id.as_str());
        matches!(process.role, Role::Runsc(_)) && named
    };
    let found = find(scope);
    let signalled: Vec<PidFd> =
        found.iter().filter(about).filter_map(|process| sigkill(process.identity)).collect();
    wait_all(&signalled, deadline);
}

/// Kills what `choose` picks from the sandbox's processes, and who was signalled before, round by round, until all of them
/// are dead.
fn hunt(
    scope: &Scope,
    signalled: &mut Signalled,
    deadline: Instant,
    mut choose: impl FnMut(&[Process]) -> Vec<Process>,
) -> Hunted {
    let own = own_cgroups(scope);
    loop {
        let found = find(scope);
        signalled.extend(choose(&found).into_iter().map(|process| (process.identity, process)));
        signalled.retain(|identity, _| identity.is_alive());
        if signalled.is_empty() {
            return Hunted { left: Vec::new(), seen: found };
        }
        let fds = signal_these(signalled);
        cgroup::kill(&signalled.keys().map(|identity| identity.pid).collect(), &own);
        cgroup::thaw(&pids(&found), &own);
        wait_all(&fds, deadline.min(Instant::now() + ROUND));
        if Instant::now() >= deadline {
            return Hunted { left: living(signalled), seen: found };
        }
    }
}

fn living(signalled: &Signalled) -> Vec<StuckProcess> {
    signalled.values().filter(|process| process.identity.is_alive()).map(StuckProcess::of).collect()
}

/// Sends SIGKILL to all of them; gives as many descriptors as may be kept.
fn signal_these(signalled: &Signalled) -> Vec<PidFd> {
    let mut fds: Vec<PidFd> = Vec::new();
    for fd in real_shim_first(signalled).filter_map(sigkill) {
        if fds.len() < WAITED_FOR {
            fds.push(fd);
        }
    }
    fds
}

fn real_shim_first(signalled: &Signalled) -> impl Iterator<Item = Identity> {
    let rank = |role: &Role| match role {
        Role::RealShim => 0,
        Role::Sentry => 1,
        _ => 2,
    };
    let mut order: Vec<(u8, Identity)> =
        signalled.values().map(|one| (rank(&one.role), one.identity)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, identity)| identity)
}

fn pids(processes: &[Process]) -> BTreeSet<i32> {
    processes.iter().map(|process| process.identity.pid).collect()
}

fn own_cgroups(scope: &Scope) -> BTreeSet<PathBuf> {
    let states = scope.members.iter().filter_map(|member| scope.state_of(member));
    states.flat_map(|state| [state.own_cgroups(), state.sandbox_cgroups()].concat()).collect()
}

#[cfg(test)]
mod tests;
