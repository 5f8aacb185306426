//! What the guard knows of its sandbox at one moment, for an operator. Looking changes nothing.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::call::{Call, Kind};
use crate::clocks::Deadline;
use crate::exit::Exit;
use crate::guard::{Guard, Phase};
use crate::io::{ProcessId, RequestId, Status as TaskStatus};
use crate::task::{Process, Task};
use crate::time::Time;

/// Where the sandbox stands: served, on one of the ladder's rungs, or past them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Normal service.
    Serving,
    /// Rung 1.
    Evidence,
    /// Rung 2.
    KillSandbox,
    /// Rung 3.
    KillAll,
    /// Rungs 4 and 5.
    Release,
    /// Rung 3 left processes that the kernel does not kill.
    Unkillable,
    /// Ended by the guard; containerd has not collected every exit yet.
    Ended,
    /// The last container is deleted.
    Closing,
}

/// The view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it stands.
    pub stage: Stage,
    /// Since the ladder began; none while there is no ladder.
    pub climbing: Option<Duration>,
    /// What could not be killed, or is left.
    pub left: Vec<String>,
    /// Every container that is not deleted.
    pub containers: Vec<Container>,
    /// Requests that wait for their answers.
    pub requests: Vec<Request>,
    /// Deadlines that run.
    pub clocks: Vec<Clock>,
    /// Calls that the real shim has not answered.
    pub calls: Vec<Called>,
    /// The call to the real shim that is overdue for longest: its method and for how long it has been out.
    pub overdue: Option<(&'static str, Duration)>,
    /// A question whose last asking the real shim has not answered in time: `State`, `Stats` or `Pids`.
    pub unanswered: Option<&'static str>,
}

/// A container's init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: String,
    /// The pid that Create answered, 0 before.
    pub pid: u32,
    /// Its status.
    pub status: TaskStatus,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Processes exec'd in it.
    pub execs: usize,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// The method's name.
    pub method: &'static str,
    /// About which process.
    pub process: ProcessId,
    /// How long it has waited.
    pub waited: Duration,
    /// When it is answered whatever happens; none for Wait.
    pub answered_in: Option<Duration>,
}

/// A call to the real shim that has not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The method's name.
    pub method: &'static str,
    /// About which process.
    pub process: ProcessId,
    /// How long it has been out.
    pub out: Duration,
    /// When the real shim gives it up; none if it need not.
    pub given_up_in: Option<Duration>,
}

/// A deadline that runs until an effect is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `SIGKILL`, `Delete` or `Create`.
    pub method: &'static str,
    /// About which process.
    pub process: ProcessId,
    /// How long the effect has been waited for.
    pub waited: Duration,
    /// When the guard ends the sandbox at the latest; none if it does not for this alone.
    pub ends_in: Option<Duration>,
}

impl Guard {
    /// The view at `now`.
    pub fn status(&self, now: Time) -> Status {
        let now = self.present(now);
        let (stage, began, left) = self.stage();
        let requests = self.waiting.iter().map(|(id, waiting)| Request {
            id: *id,
            method: waiting.kind.method(),
            process: waiting.process.clone(),
            waited: now - waiting.since,
            answered_in: waiting.due.map(|due| due - now),
        });
        let owed =
            self.calls.values().filter(|call| call.kind != Kind::Wait && now > call.sent + call.timeout);
        let overdue = owed.map(|call| (call.kind.method(), now - call.sent));
        Status {
            stage,
            climbing: began.map(|began| now - began),
            left: left.to_vec(),
            containers: self
                .tasks
                .0
                .iter()
                .map(|(id, task)| container(id, &task.init, task.execs.len()))
                .collect(),
            requests: requests.collect(),
            clocks: self.running_clocks(now),
            calls: self.calls.values().map(|call| called(call, now)).collect(),
            overdue: overdue.max_by_key(|(_, out)| *out),
            unanswered: self.unanswered(now),
        }
    }

    fn unanswered(&self, now: Time) -> Option<&'static str> {
        let (query, stats) = (self.policy.query_deadline, self.policy.stats_deadline);
        let state = self.tasks.processes().any(|(_, process)| process.state.is_late(now, query));
        let any = |late: &dyn Fn(&Task) -> bool| self.tasks.0.values().any(late);
        match () {
            () if state => Some("State"),
            () if any(&|task| task.stats.is_late(now, stats)) => Some("Stats"),
            () if any(&|task| task.pids.is_late(now, query)) => Some("Pids"),
            () => None,
        }
    }

    fn stage(&self) -> (Stage, Option<Time>, &[String]) {
        match &self.phase {
            Phase::Open => (Stage::Serving, None, &[]),
            Phase::Ending(ladder) => (ladder.stage(), Some(ladder.began()), &[]),
            Phase::Unkillable(ladder, stuck) => (Stage::Unkillable, Some(ladder.began()), &stuck.left),
            Phase::Gone(left) => (Stage::Ended, None, left),
            Phase::Closing(closing) => {
                (Stage::Closing, None, closing.stuck.as_ref().map_or(&[], |stuck| &stuck.left))
            }
            Phase::Closed => (Stage::Closing, None, &[]),
        }
    }

    fn running_clocks(&self, now: Time) -> Vec<Clock> {
        let mut clocks: Vec<Clock> = Vec::new();
        for (process, known) in self.tasks.processes() {
            for which in Deadline::BOTH {
                let Some(clock) = which.of(known) else { continue };
                clocks.push(Clock {
                    method: if which == Deadline::Kill { "SIGKILL" } else { "Delete" },
                    waited: now - clock.since,
                    ends_in: self.latest_end(&process, which, &clock).map(|end| end - now),
                    process: process.clone(),
                });
            }
        }
        let creating = self.tasks.0.iter().filter_map(|(id, task)| Some((id, task.creating?)));
        clocks.extend(creating.map(|(id, since)| Clock {
            method: "Create",
            process: ProcessId::init(id),
            waited: now - since,
            ends_in: Some(since + self.policy.create_deadline - now),
        }));
        clocks
    }
}

fn called(call: &Call, now: Time) -> Called {
    let Call { kind, process, sent, timeout, .. } = call;
    let given_up_in = (!timeout.is_zero()).then(|| *sent + *timeout - now);
    Called { method: kind.method(), process: process.clone(), out: now - *sent, given_up_in }
}

fn container(id: &str, init: &Process, execs: usize) -> Container {
    let Process { about, pid, exit, .. } = init;
    let (bundle, status) = (about.bundle.clone(), init.status());
    Container { id: id.into(), bundle, pid: *pid, status, exit: *exit, execs }
}
