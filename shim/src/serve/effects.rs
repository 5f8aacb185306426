//! The ladder's steps and the probes, each in a thread of its own that may be abandoned when it takes too
//! long; the result comes back as an input.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runsc_guard::io::{Heard, Input, Rung, RungDone};
use runsc_guard::policy::rungs;
use tokio::sync::mpsc::UnboundedSender;

use super::report::Report;
use super::{Message, encode};
use crate::descriptors;
use crate::kernel::{PidFd, wait_all};
use crate::sandbox::evidence::evidence;
use crate::sandbox::free::{Freedoms, take_from_the_living};
use crate::sandbox::fuse::Connections;
use crate::sandbox::holdings::Holdings;
use crate::sandbox::identity::Identity;
use crate::sandbox::prove::prove;
use crate::sandbox::release::release;
use crate::sandbox::remnant::Remnant;
use crate::sandbox::teardown::{await_death, kill_all, kill_create, kill_sandbox};
use crate::sandbox::{Scope, find, probe, procfs};

/// How long rung 3 kills before it looks for what holds up those that live on.
const PLAINLY: Duration = Duration::from_millis(200);
/// How long one wait for the unkillable lasts before it begins anew.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// What the sandbox holds and uses, learned before anything is killed.
struct Known {
    holdings: Holdings,
    connections: Connections,
}

/// What is carried from one step to the next.
#[derive(Clone)]
pub(crate) struct Ladder {
    known: Arc<Mutex<Option<Known>>>,
    freedoms: Freedoms,
    report: Report,
    reports: UnboundedSender<Message>,
}

impl Ladder {
    pub(crate) fn new(report: Report, freedoms: Freedoms, reports: UnboundedSender<Message>) -> Self {
        Self { known: Arc::default(), freedoms, report, reports }
    }

    /// Takes one step within `budget`.
    pub(crate) fn step(&self, rung: Rung, budget: Duration, scope: Scope) {
        let ladder = self.clone();
        let deadline = Instant::now() + budget;
        tokio::task::spawn_blocking(move || {
            descriptors::wait_for_some();
            let mut unkillable = Vec::new();
            let done = ladder.perform(rung, &scope, deadline, &mut unkillable);
            let _ = ladder.reports.send(Message::Input(Input::Rung(done)));
            // After the result: their death must not be reported before they are known to live.
            if !unkillable.is_empty() {
                let _ = ladder.reports.send(Message::AwaitDeath(await_death(&unkillable)));
            }
        });
    }

    fn perform(
        &self,
        rung: Rung,
        scope: &Scope,
        deadline: Instant,
        unkillable: &mut Vec<Remnant>,
    ) -> RungDone {
        match rung {
            Rung::Evidence => {
                self.learn(scope);
                let seen = evidence(scope, true, deadline);
                self.report.write(&seen);
                RungDone::Evidence
            }
            Rung::Watch => {
                // Nothing is learned for a ladder that may never begin, or begin with other containers.
                self.report.write(&evidence(scope, true, deadline));
                RungDone::Watched
            }
            Rung::KillSandbox => {
                self.learn(scope);
                RungDone::SandboxKilled { left: words(&kill_sandbox(scope, deadline)) }
            }
            Rung::KillAll => {
                self.learn(scope);
                *unkillable = self.kill_until_stuck(scope, deadline);
                RungDone::AllKilled { left: words(unkillable), at_ns: encode::wall_clock_ns() }
            }
            Rung::KillCreate(container) => {
                let stuck = end_create(scope, &container, deadline);
                RungDone::CreateKilled { container, stuck }
            }
            Rung::Release => {
                let known = self.lock().take().map(|known| known.holdings);
                let mut holdings = known.unwrap_or_else(|| Holdings::of(scope, &scope.members));
                let mut left = release(scope, &mut holdings, deadline);
                if !left.is_empty() {
                    // What a busy node had no time for is done by now, or in another moment.
                    left = release(scope, &mut holdings, Instant::now() + rungs::RELEASE);
                }
                if left.is_empty() {
                    left = prove(scope, &holdings);
                }
                RungDone::Released { left: left.iter().map(ToString::to_string).collect() }
            }
            Rung::Free => {
                self.learn(scope);
                RungDone::Freed { left: words(&self.free(scope, deadline)) }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the sandbox holds, as long as runsc's files can tell.
    fn learn(&self, scope: &Scope) {
        self.lock().get_or_insert_with(|| Known {
            holdings: Holdings::of(scope, &scope.members),
            connections: Connections::of(scope),
        });
    }

    /// Rung 3, with patience for a node that is so busy that dying takes long: what still changes from one look
    /// to the next is on its way out, and only what stays the same is stuck.
    fn kill_until_stuck(&self, scope: &Scope, deadline: Instant) -> Vec<Remnant> {
        let mut left = kill_all(scope, deadline.min(Instant::now() + PLAINLY));
        self.abort_fuse(scope, &left);
        if !left.is_empty() {
            left = kill_all(scope, deadline);
        }
        let last = Instant::now() + rungs::OVERLOAD;
        while !left.is_empty() && Instant::now() < last {
            let again = kill_all(scope, Instant::now() + rungs::KILL_ALL);
            let stuck = again == left;
            left = again;
            if stuck {
                break;
            }
        }
        self.name(&mut left);
        left
    }

    fn name(&self, left: &mut [Remnant]) {
        if let Some(known) = self.lock().as_ref() {
            known.connections.name(left);
        }
    }

    fn abort_fuse(&self, scope: &Scope, remnants: &[Remnant]) {
        if let Some(known) = self.lock().as_mut() {
            self.freedoms.abort_fuse(scope, &mut known.connections, remnants);
        }
    }

    /// Rung 6. Nothing is locked while mounts are taken away, which may take its time: the ladder may go on.
    fn free(&self, scope: &Scope, deadline: Instant) -> Vec<Remnant> {
        let Some(mut holdings) = self.lock().as_ref().map(|known| known.holdings.clone()) else {
            return Vec::new();
        };
        let mut left = take_from_the_living(scope, &mut holdings, self.freedoms, deadline);
        self.abort_fuse(scope, &left);
        if let Some(known) = self.lock().as_mut() {
            known.holdings = holdings;
        }
        self.name(&mut left);
        left
    }
}

fn words(left: &[Remnant]) -> Vec<String> {
    left.iter().map(ToString::to_string).collect()
}

/// Ends what one Create began and releases what it held; says where it hung.
fn end_create(scope: &Scope, container: &str, deadline: Instant) -> String {
    let Some(member) = scope.members.iter().find(|member| member.id == container) else {
        return "nothing of it was found".to_owned();
    };
    let mut holdings = Holdings::of(scope, std::slice::from_ref(member));
    let stuck = where_create_hangs(scope, container);
    let left = kill_create(scope, member, deadline);
    let left: Vec<String> = if left.is_empty() {
        release(scope, &mut holdings, deadline).iter().map(ToString::to_string).collect()
    } else {
        words(&left)
    };
    if left.is_empty() { stuck } else { format!("{stuck}; left behind: {}", left.join("; ")) }
}

fn where_create_hangs(scope: &Scope, container: &str) -> String {
    let processes = find::find(scope);
    let command = processes.iter().find(|process| {
        matches!(&process.role, crate::sandbox::process::Role::Runsc(subcommand) if subcommand == "create")
            && process.container().is_some_and(|id| id == container)
    });
    match command {
        Some(command) => {
            let pid = command.identity.pid;
            let wchan = procfs::wait_channel(pid).unwrap_or_else(|| "unknown".to_owned());
            format!("runsc create (pid {pid}, state {}, in {wchan})", command.state)
        }
        // runsc create has returned or was never run: the shim itself waits, for the sandbox to close the
        // output that it inherited, for a FIFO's other end, or for a mount.
        None => "the real shim itself, no runsc create is running: either the sandbox holds runsc create's \
                 output (a task without a terminal and without the annotation \
                 io.kubernetes.cri.container-type), or a rootfs mount hangs"
            .to_owned(),
    }
}

/// Asks the sentry past the real shim, once.
pub(crate) fn probe_sentry(
    runsc: PathBuf,
    root: PathBuf,
    id: String,
    timeout: Duration,
    reports: UnboundedSender<Message>,
) {
    tokio::task::spawn_blocking(move || {
        let heard = match probe::probe(&runsc, &root, &id, timeout).as_ref().map(Option::as_deref) {
            // runsc says so without asking the sandbox.
            Ok(Some("paused")) => Heard::Paused,
            Ok(Some(_)) => Heard::Answers,
            Ok(None) => Heard::Nothing,
            // Nobody was asked, so nobody failed to answer: only `hard_limit` may judge then.
            Err(error) => {
                log::warn!("the sandbox cannot be asked: {}: {error}", runsc.display());
                Heard::Answers
            }
        };
        let _ = reports.send(Message::Input(Input::Probed(heard)));
    });
}

/// Reports when all of these are dead. A thread of its own, because there is no knowing when.
pub(crate) fn await_remnants(remnants: Vec<(Identity, PidFd)>, reports: UnboundedSender<Message>) {
    tokio::task::spawn_blocking(move || {
        while !wait_all(remnants.iter().map(|(_, process)| process), Instant::now() + LONG) {}
        let _ = reports.send(Message::Input(Input::RemnantsDied));
    });
}
