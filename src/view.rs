//! What the guard knows of its sandbox at one moment, for an operator. Looking changes nothing.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::escalation::deadlines::latest_end;
use crate::exit::Exit;
use crate::inflight::{Call, Kind};
use crate::io::{Method, ProcessId, RequestId, Status, StepKind};
use crate::phase::Phase;
use crate::state::State;
use crate::task::{self, Effect};
use crate::time::Time;

/// Where the sandbox stands: in service, in a step of the escalation, or past that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Normal service.
    Serving,
    /// A step of the escalation.
    Step(StepKind),
    /// It has left processes that the kernel does not kill.
    Unkillable,
    /// Ended by the guard; containerd has not collected every exit yet.
    Ended,
    /// The last container is deleted.
    Closing,
}

impl Progress {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Step(kind) => kind.as_str(),
            Self::Unkillable => "unkillable",
            Self::Ended => "ended",
            Self::Closing => "closing",
        }
    }
}

/// The view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Where it stands.
    pub progress: Progress,
    /// Since the escalation began; none while there is no escalation.
    pub escalating: Option<Duration>,
    /// What could not be killed, or is left.
    pub left: Vec<String>,
    /// Every container that is not deleted.
    pub containers: Vec<ContainerView>,
    /// Requests that wait for their answers.
    pub requests: Vec<RequestView>,
    /// Deadlines that run.
    pub deadlines: Vec<DeadlineView>,
    /// Calls that the real shim has not answered.
    pub calls: Vec<CallView>,
    /// The call to the real shim that is overdue for longest.
    pub overdue: Option<CallView>,
    /// A query whose last asking the real shim has not answered in time: State, Stats or Pids.
    pub unanswered: Option<Method>,
}

/// A container's init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerView {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: String,
    /// The pid that Create answered, 0 before.
    pub pid: u32,
    /// Its status.
    pub status: Status,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Processes exec'd in it.
    pub execs: usize,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestView {
    /// Its number.
    pub id: RequestId,
    /// The method.
    pub method: Method,
    /// The process.
    pub process: ProcessId,
    /// How long it has waited.
    pub waited: Duration,
    /// When it is answered whatever happens; none for Wait.
    pub answered_in: Option<Duration>,
}

/// A call to the real shim that has not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// The method; none where the guard asks by itself whether the real shim answers anything at all.
    pub method: Option<Method>,
    /// The process.
    pub process: ProcessId,
    /// How long it has been out.
    pub out: Duration,
    /// When the real shim gives it up; none if it need not.
    pub given_up_in: Option<Duration>,
}

impl CallView {
    /// What it asks for.
    pub fn name(&self) -> &'static str {
        self.method.map_or("greeting", Method::as_str)
    }
}

/// A deadline that runs until an effect is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineView {
    /// What is waited for.
    pub effect: Awaited,
    /// The process.
    pub process: ProcessId,
    /// How long the effect has been waited for.
    pub waited: Duration,
    /// When the guard ends the sandbox at the latest; none if it does not for this alone.
    pub ends_in: Option<Duration>,
}

/// What a deadline waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The exit after a SIGKILL.
    Exit,
    /// The end of a Delete.
    Deletion,
    /// The end of a Create.
    Creation,
}

impl Awaited {
    /// What was asked for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "SIGKILL",
            Self::Deletion => Method::Delete.as_str(),
            Self::Creation => Method::Create.as_str(),
        }
    }
}

/// The view at `now`.
pub(crate) fn of(state: &State, now: Time) -> View {
    let (progress, began, left) = progress(state);
    let requests = state.inflight.requests().map(|(id, request)| RequestView {
        id,
        method: request.kind.method(),
        process: request.process.clone(),
        waited: now - request.since,
        answered_in: request.due.map(|due| due - now),
    });
    let calls = || state.inflight.calls().map(|(_, call)| call);
    let overdue = calls().filter(|call| call.kind != Kind::Wait && now > call.sent + call.timeout);
    View {
        progress,
        escalating: began.map(|began| now - began),
        left: left.to_vec(),
        containers: state.tasks.containers().map(|(id, known)| container(id, known)).collect(),
        requests: requests.collect(),
        deadlines: running(state, now),
        calls: calls().map(|call| called(call, now)).collect(),
        overdue: overdue.map(|call| called(call, now)).max_by_key(|call| call.out),
        unanswered: unanswered(state, now),
    }
}

fn unanswered(state: &State, now: Time) -> Option<Method> {
    let (query, stats) = (state.policy.query_deadline, state.policy.stats_deadline);
    let mut processes = state.tasks.processes().map(|(_, process)| process);
    let any = |late: &dyn Fn(&task::Container) -> bool| state.tasks.containers().any(|(_, one)| late(one));
    match () {
        () if processes.any(|process| process.state.is_late(now, query)) => Some(Method::State),
        () if any(&|container| container.stats.is_late(now, stats)) => Some(Method::Stats),
        () if any(&|container| container.pids.is_late(now, query)) => Some(Method::Pids),
        () => None,
    }
}

fn progress(state: &State) -> (Progress, Option<Time>, &[String]) {
    match state.phase() {
        Phase::Open => (Progress::Serving, None, &[]),
        Phase::Ending(escalation) => {
            (Progress::Step(escalation.step().kind()), Some(escalation.began()), &[])
        }
        Phase::Unkillable(escalation, stuck) => {
            (Progress::Unkillable, Some(escalation.began()), stuck.left())
        }
        Phase::Gone(left) => (Progress::Ended, None, left),
        Phase::Closing(shutdown) => {
            (Progress::Closing, None, shutdown.stuck().map_or(&[], |stuck| stuck.left()))
        }
        Phase::Closed => (Progress::Closing, None, &[]),
    }
}

fn running(state: &State, now: Time) -> Vec<DeadlineView> {
    let mut deadlines: Vec<DeadlineView> = Vec::new();
    for (process, known) in state.tasks.processes() {
        for effect in Effect::BOTH {
            let Some(deadline) = known.deadlines.of(effect) else { continue };
            deadlines.push(DeadlineView {
                effect: match effect {
                    Effect::Exit => Awaited::Exit,
                    Effect::Deletion => Awaited::Deletion,
                },
                waited: now - deadline.since(),
                ends_in: latest_end(state, &process, effect, &deadline).map(|end| end - now),
                process: process.clone(),
            });
        }
    }
    let creating =
        state.tasks.containers().filter_map(|(id, container)| Some((id, container.create_sent()?)));
    deadlines.extend(creating.map(|(id, since)| DeadlineView {
        effect: Awaited::Creation,
        process: ProcessId::init(id),
        waited: now - since,
        ends_in: Some(since + state.policy.create_deadline - now),
    }));
    deadlines
}

fn called(call: &Call, now: Time) -> CallView {
    let Call { kind, process, sent, timeout, .. } = call;
    let given_up_in = (!timeout.is_zero()).then(|| *sent + *timeout - now);
    CallView { method: kind.asked(), process: process.clone(), out: now - *sent, given_up_in }
}

fn container(id: &str, container: &task::Container) -> ContainerView {
    let init = &container.init;
    ContainerView {
        id: id.into(),
        bundle: init.about().bundle.clone(),
        pid: init.pid(),
        status: init.status(),
        exit: init.exit(),
        execs: container.execs(),
    }
}
