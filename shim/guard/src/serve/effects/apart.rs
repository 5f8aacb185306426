//! Each step in a thread of its own, and what is done where none can be made (a node out of pids, a full pids cgroup):
//! steps 2 and 3 send their SIGKILL all the same, again and again, and the thread is asked for again meanwhile.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{Input, Step, StepResult};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::Escalation;
use crate::fd_limit;
use crate::serve::encode;
use crate::serve::message::Message;
use crate::serve::watch::watch_death;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::kernel::PidFd;
use runsc_guard_sandbox::teardown::kill::FirstKill;
use runsc_guard_sandbox::teardown::leftover::words;
use runsc_guard_sandbox::teardown::stuck::StuckProcess;
use runsc_guard_sandbox::teardown::stuck::await_death;

/// How soon a thread is asked for again, and who was signalled looked at.
const AGAIN: Duration = Duration::from_millis(50);
/// The same when the step's own time is over; and how often one is looked at that the runtime cannot watch.
const SELDOM: Duration = Duration::from_secs(1);

impl Escalation {
    /// Takes one step within `budget`.
    pub(crate) fn step(&self, step: Step, budget: Duration, scope: Scope) {
        let deadline = Instant::now() + budget;
        if let Err(error) = self.begin(&step, deadline, &scope) {
            log::warn!("no thread can be made ({error}): the sandbox is ended without, as far as that goes");
            tokio::spawn(self.clone().without_thread(step, deadline, scope));
        }
    }

    fn begin(&self, step: &Step, deadline: Instant, scope: &Scope) -> io::Result<()> {
        let (escalation, step, scope) = (self.clone(), step.clone(), scope.clone());
        let work = move || {
            fd_limit::wait_for_some();
            let mut unkillable = Vec::new();
            let done = escalation.perform(step, &scope, deadline, &mut unkillable);
            escalation.tell(done, &unkillable);
        };
        thread::Builder::new().name("step".into()).spawn(work).map(drop)
    }

    /// Sends SIGKILL, where this step does, and asks again for a thread, for as long as there is none: how long it is waited
    /// for is the state machine's to say. Only that all are dead can be told without one.
    async fn without_thread(self, step: Step, deadline: Instant, scope: Scope) {
        let mut pause = AGAIN;
        loop {
            let first = match step {
                Step::KillSandbox => Some(FirstKill::at_sandbox(&scope)),
                Step::KillAll => Some(FirstKill::at_all(&scope)),
                // Whom one Create began only command lines tell, and those may hang. Its limit is the state machine's:
                // then the root's sandbox is ended by the steps above, and a member has a SIGKILL's clock.
                _ => None,
            };
            sleep(pause).await;
            if self.begin(&step, deadline, &scope).is_ok() {
                return;
            }
            if Instant::now() < deadline {
                continue;
            }
            if let (Step::KillAll, Some(first)) = (&step, first) {
                return self.all_killed(&first.left());
            }
            pause = SELDOM;
        }
    }

    fn all_killed(&self, unkillable: &[StuckProcess]) {
        self.tell(
            StepResult::AllKilled { left: words(unkillable), at_ns: encode::wall_clock_ns() },
            unkillable,
        );
    }

    fn tell(&self, done: StepResult, unkillable: &[StuckProcess]) {
        let _ = self.reports.send(Message::Input(Input::Step(done)));
        // After the result: their death must not be reported before they are known to live.
        if !unkillable.is_empty() {
            let _ = self.reports.send(Message::AwaitDeath(await_death(unkillable)));
        }
    }
}

/// Reports when all of these are dead, whenever that is.
pub(crate) fn await_stuck(stuck: Vec<(Identity, PidFd)>, reports: UnboundedSender<Message>) {
    tokio::spawn(async move {
        for (identity, process) in stuck {
            await_one(identity, process).await;
        }
        let _ = reports.send(Message::Input(Input::StuckDied));
    });
}

async fn await_one(identity: Identity, process: PidFd) {
    match watch_death(process) {
        Ok(process) => drop(process.readable().await),
        Err(error) => {
            log::warn!("pid {} cannot be killed, and is looked at once a second: {error}", identity.pid);
            while identity.is_alive() {
                sleep(SELDOM).await;
            }
        }
    }
}
