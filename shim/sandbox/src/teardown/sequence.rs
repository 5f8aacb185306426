//! The end of a sandbox, from what it holds to the proof that nothing of that is left: one sequence of steps, whoever
//! takes them. The guard takes them one by one, as its core decides; `delete` after a guard's death and the
//! operator's `reap` take them all in one go ([`Sequence::run`]). They differ in who is told ([`Observer`]) and in who
//! waits ([`Patience`]), in nothing else.
//!
//! A sandbox is looked for in one scope, or, under several real shims without a guard, in several: the last of these
//! is the one that needs no living shim.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runsc_guard_core::io::StepKind;
use runsc_guard_core::policy::{LOOK_AGAIN_AFTER, budgets};

use crate::processes::find;
use crate::resources::fuse::Connections;
use crate::resources::held::Resources;
use crate::sys::kernel::wait_all;
use crate::sys::procfs;
use crate::teardown::kill::{Hunted, Signalled, kill_all, kill_create, kill_sandbox};
use crate::teardown::leftover::{self, Leftover, words};
use crate::teardown::stuck::{StuckProcess, await_death};
use crate::teardown::unblock::{UnblockPolicy, take_from_the_living};
use crate::teardown::verify::{release_and_verify, verify};
use crate::{Member, Scope};

pub use crate::teardown::observer::{Nobody, Observer, Patience};

/// How long is killed before it is looked what holds up those that live on.
const PLAINLY: Duration = Duration::from_millis(200);
/// Between two attempts to free what cannot be killed, where somebody waits for it.
const UNBLOCK_AGAIN: Duration = Duration::from_secs(1);

/// What a sandbox holds and uses, learned before anything is killed: a real shim that sees its sandbox die removes what
/// tells, and so does containerd when a shim is dead.
struct Known {
    resources: Resources,
    connections: Connections,
}

/// What is carried from one step to the next.
#[derive(Default)]
struct Carried {
    known: Option<Known>,
    signalled: Signalled,
}

/// The steps, with what they have learned and whom they have signalled.
#[derive(Clone)]
pub struct Sequence {
    carried: Arc<Mutex<Carried>>,
    policy: UnblockPolicy,
}

impl Sequence {
    /// Nothing is known yet.
    pub fn new(policy: UnblockPolicy) -> Self {
        Self { carried: Arc::default(), policy }
    }

    /// What the sandbox holds, as long as runsc's files can tell. No look at a process that could hang: killing waits for
    /// this.
    pub fn learn(&self, scopes: &[Scope]) {
        // By descent, where there is any: without a state file only the processes themselves tell of their cgroups.
        let Some(scope) = scopes.first() else { return };
        self.lock().known.get_or_insert_with(|| Known {
            resources: Resources::of(scope, &scope.members),
            connections: Connections::of(&scopes.iter().flat_map(find::before_a_blow).collect::<Vec<_>>()),
        });
    }

    /// Step 2: the sandbox, not the real shim.
    pub fn kill_sandbox(&self, scopes: &[Scope], deadline: Instant) -> Hunted {
        self.learn(scopes);
        self.hunt(scopes, |scope, signalled| kill_sandbox(scope, signalled, deadline))
    }

    /// What one container's Create began, until a deadline; gives what lives on of that, and of nothing that another
    /// container's Create has left.
    pub fn kill_create(&self, scope: &Scope, member: &Member, deadline: Instant) -> Vec<StuckProcess> {
        let mut signalled = Signalled::new();
        let left = kill_create(scope, member, &mut signalled, deadline).left;
        self.carry(signalled);
        left
    }

    /// The real shim and all that belongs to the sandbox, until a deadline and no longer; gives what lives on.
    pub fn kill_until(&self, scopes: &[Scope], deadline: Instant) -> Vec<StuckProcess> {
        self.hunt(scopes, |scope, signalled| kill_all(scope, signalled, deadline)).left
    }

    /// Nothing is locked meanwhile: another step may hunt beside.
    fn hunt(&self, scopes: &[Scope], kill: impl Fn(&Scope, &mut Signalled) -> Hunted) -> Hunted {
        let mut signalled = self.lock().signalled.clone();
        let hunts = scopes.iter().map(|scope| kill(scope, &mut signalled));
        let hunted = hunts.reduce(Hunted::and).unwrap_or_default();
        self.carry(signalled);
        hunted
    }

    /// To the next step, and with it only who may still be dying: Creates may hang for days, one after the other.
    fn carry(&self, mut signalled: Signalled) {
        let mut carried = self.lock();
        carried.signalled.append(&mut signalled);
        carried.signalled.retain(|identity, _| identity.is_alive());
    }

    /// Step 3: all of it, with patience for a node that is so busy that dying takes long: what runs, or changes from one
    /// look to the next, is on its way out. Only what is held and stays the same is stuck, and not even that where who
    /// holds it may wait for a processor.
    pub fn kill_all(
        &self,
        scopes: &[Scope],
        deadline: Instant,
        overload: Duration,
        observer: &dyn Observer,
    ) -> Vec<StuckProcess> {
        self.learn(scopes);
        let mut left = self.kill_until(scopes, deadline.min(Instant::now() + PLAINLY));
        // Whether a server hangs takes its time to see, which begins now.
        self.watch_fuse(scopes, &left, Instant::now(), observer);
        if !left.is_empty() {
            left = self.kill_until(scopes, deadline);
        }
        let last = Instant::now() + overload;
        while !left.is_empty() && Instant::now() < last {
            self.watch_fuse(scopes, &left, Instant::now(), observer);
            let again = self.kill_until(scopes, last.min(Instant::now() + budgets::KILL_ALL));
            let stuck = again == left && !again.iter().any(StuckProcess::runs) && !procfs::is_crowded();
            left = again;
            if stuck {
                break;
            }
        }
        self.name(&mut left);
        left
    }

    /// Step 6, once: takes from what SIGKILL does not end what it holds for others, and frees it where that costs nobody
    /// else anything. Gives what lives on, and whether what holds that up ought to be watched on.
    pub fn unblock(
        &self,
        scopes: &[Scope],
        deadline: Instant,
        observer: &dyn Observer,
    ) -> (Vec<StuckProcess>, bool) {
        self.learn(scopes);
        self.take_from(scopes, self.kill_until(scopes, Instant::now()), deadline, observer)
    }

    /// Nothing is locked while mounts are taken away and servers watched, which may take its time: the escalation may go on.
    fn take_from(
        &self,
        scopes: &[Scope],
        mut left: Vec<StuckProcess>,
        deadline: Instant,
        observer: &dyn Observer,
    ) -> (Vec<StuckProcess>, bool) {
        let (Some(scope), Some(mut resources)) = (scopes.last(), self.held()) else { return (left, false) };
        let taken = take_from_the_living(scope, &mut resources, self.policy, &left, deadline);
        taken.iter().for_each(|line| observer.happened(line));
        if let Some(known) = self.lock().known.as_mut() {
            known.resources = resources;
        }
        let undecided = self.watch_fuse(scopes, &left, deadline, observer);
        self.name(&mut left);
        (left, undecided)
    }

    /// Steps 4 and 5, of a sandbox whose processes are dead: gives back what it held, and proves that nothing is left.
    pub fn release(&self, scopes: &[Scope], deadline: Instant, observer: &dyn Observer) -> Vec<Leftover> {
        let Some(scope) = scopes.last() else { return Vec::new() };
        let known = self.lock().known.take().map(|known| known.resources);
        let mut resources = known.unwrap_or_else(|| Resources::of(scope, &scope.members));
        release_and_verify(scope, &mut resources, deadline, observer)
    }

    /// Ends the sandbox and spares the real shims, which can tell how it ended; gives what lives on.
    pub fn run_below_shims(
        &self,
        scopes: &[Scope],
        patience: Patience,
        observer: &dyn Observer,
    ) -> Vec<StuckProcess> {
        let kill = |deadline| self.kill_sandbox(scopes, deadline).left;
        observer.begins(StepKind::KillSandbox, patience.dead);
        let left = kill(patience.dead);
        observer.ends(StepKind::KillSandbox, &words(&left));
        self.unblock_until_dead(scopes, left, patience.over, &kill, observer)
    }

    /// All steps that end and release it, the real shims included. Where something cannot be killed it is freed again and
    /// again, as long as somebody waits; what it may still use is not released then.
    pub fn run(&self, scopes: &[Scope], patience: Patience, observer: &dyn Observer) -> Vec<Leftover> {
        observer.begins(StepKind::KillAll, patience.dead);
        let left = self.kill_all(scopes, patience.dead, patience.overload, observer);
        observer.ends(StepKind::KillAll, &words(&left));
        let kill = |deadline| self.kill_until(scopes, deadline);
        let stuck = self.unblock_until_dead(scopes, left, patience.over, &kill, observer);
        if !stuck.is_empty() {
            return self.with_what_it_holds(scopes, stuck);
        }
        observer.begins(StepKind::Release, patience.over);
        let left = self.release(scopes, patience.over, observer);
        observer.ends(StepKind::Release, &words(&left));
        left
    }

    /// Step 6 again and again, where it is needed; gives what lives at the end.
    fn unblock_until_dead(
        &self,
        scopes: &[Scope],
        mut stuck: Vec<StuckProcess>,
        over: Instant,
        kill: &dyn Fn(Instant) -> Vec<StuckProcess>,
        observer: &dyn Observer,
    ) -> Vec<StuckProcess> {
        if stuck.is_empty() {
            return stuck;
        }
        observer.begins(StepKind::Unblock, over);
        loop {
            let attempt = over.min(Instant::now() + budgets::UNBLOCK);
            let undecided;
            (stuck, undecided) = self.take_from(scopes, stuck, attempt, observer);
            let again = if undecided { LOOK_AGAIN_AFTER } else { UNBLOCK_AGAIN };
            let dying = await_death(&stuck);
            wait_all(dying.iter().map(|(_, process)| process), over.min(Instant::now() + again));
            stuck = kill(Instant::now());
            if stuck.is_empty() || Instant::now() >= over {
                self.name(&mut stuck);
                observer.ends(StepKind::Unblock, &words(&stuck));
                return stuck;
            }
        }
    }

    /// These processes, and what is seen to be there beside them.
    fn with_what_it_holds(&self, scopes: &[Scope], stuck: Vec<StuckProcess>) -> Vec<Leftover> {
        let mut left: Vec<Leftover> = stuck.into_iter().map(Leftover::Process).collect();
        if let (Some(scope), Some(resources)) = (scopes.last(), self.held()) {
            leftover::add_new(&mut left, verify(scope, &resources));
        }
        left
    }

    /// Whether what holds these up ought to be watched on.
    fn watch_fuse(
        &self,
        scopes: &[Scope],
        stuck: &[StuckProcess],
        until: Instant,
        observer: &dyn Observer,
    ) -> bool {
        let known = self.lock().known.as_ref().map(|known| known.connections.clone());
        let (Some(scope), Some(mut connections)) = (scopes.last(), known) else { return false };
        let (lines, undecided) = self.policy.watch_fuse(scope, &mut connections, stuck, until);
        lines.iter().for_each(|line| observer.happened(line));
        if let Some(known) = self.lock().known.as_mut() {
            known.connections = connections;
        }
        undecided
    }

    /// What it holds, for a look that takes its time: nothing is locked meanwhile.
    fn held(&self) -> Option<Resources> {
        self.lock().known.as_ref().map(|known| known.resources.clone())
    }

    fn name(&self, left: &mut [StuckProcess]) {
        if let Some(known) = self.lock().known.as_ref() {
            known.connections.name(left);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc;
    use std::thread;

    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::unistd::gettid;

    use super::*;
    use crate::sys::identity::Stat;

    /// A file system that hangs may hold up who looks what is left on it.
    #[test]
    fn nothing_is_locked_while_it_is_looked_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let server = std::fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let told = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        // Nobody serves it.
        mount(Some("none"), folder.path(), Some("fuse"), MsFlags::empty(), Some(told.as_str())).unwrap();
        let sequence = Sequence::new(UnblockPolicy::NONE);
        let resources = Resources { files: vec![folder.path().join("state")], ..Resources::default() };
        sequence.lock().known = Some(Known { resources, connections: Connections::default() });
        let (looking, (tell, told)) = (sequence.clone(), mpsc::channel());
        let looks = thread::spawn(move || {
            tell.send(gettid().as_raw()).unwrap();
            looking.with_what_it_holds(&[Scope::default()], Vec::new())
        });
        let thread = told.recv().unwrap();
        while procfs::wait_channel(thread).is_none_or(|at| !at.contains("fuse")) {
            assert!(!looks.is_finished() && Stat::of(thread).is_ok());
            thread::yield_now();
        }
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(sequence.lock().known.is_some()));
        let known = told.recv_timeout(Duration::from_secs(2));
        umount2(folder.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        looks.join().unwrap();
        assert_eq!(known, Ok(true));
    }
}
