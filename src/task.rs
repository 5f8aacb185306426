//! What is known of each container and each process in it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::exit::Exit;
use crate::io::{About, CallId, ProcessId, Status};
use crate::policy::CERTAIN_FOR;
use crate::time::Time;

/// SIGKILL.
pub(crate) const SIGKILL: u32 = 9;

/// A question that callers share: one call in flight, and none at all for a while after one was late.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// The call in flight.
    pub(crate) call: Option<CallId>,
    /// When the last call was sent.
    pub(crate) sent: Time,
    /// The last call that came back had missed its time.
    pub(crate) missed: bool,
    /// Since when it has been answered with nothing but errors.
    pub(crate) failing: Option<Time>,
}

impl Ask {
    /// Whether the real shim is late with this question, so that callers need not wait for it: it missed the
    /// time of the last call, or is missing that of the one in flight. (A caller's own short timeout says
    /// nothing about the real shim.)
    pub(crate) fn is_late(&self, now: Time, limit: Duration) -> bool {
        self.missed || (self.call.is_some() && now >= self.sent + limit)
    }

    /// Whether the last question has not been answered in its time.
    pub(crate) fn is_owed(&self, now: Time, limit: Duration) -> bool {
        if self.call.is_some() { now >= self.sent + limit } else { self.missed }
    }
}

/// A signal on its way to a process. One that no request waits for any more is pending: its caller has been
/// told so, or has left.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) signal: u32,
    pub(crate) all: bool,
    pub(crate) call: CallId,
    /// It was answered with errors, and is sent again then.
    pub(crate) again: Option<Time>,
}

/// A deadline that runs until an effect is there: the exit after SIGKILL, or the end of a Delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The first request; moved by the time that did not count (see `create`).
    pub(crate) since: Time,
    /// The real shim answered the request, be it with an error.
    pub(crate) acknowledged: bool,
    /// When the last SIGKILL was sent that was answered with an error.
    pub(crate) refused: Option<Time>,
    /// The deadline has passed and the sandbox was left alone, until the sentry is silent or `hard_limit`.
    pub(crate) spared: bool,
    /// Spared, and asked for again since: from then on the sentry is asked again.
    pub(crate) asks: Option<Time>,
}

impl Clock {
    pub(crate) fn starting(now: Time) -> Self {
        Self { since: now, acknowledged: false, refused: None, spared: false, asks: None }
    }

    /// The effect is asked for again: once spared, what was heard of the sentry is out of date.
    pub(crate) fn ask_again(&mut self, now: Time) {
        if self.spared {
            self.asks = Some(now);
        }
    }
}

/// In whose words an exit was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The real shim's own: whatever else it says of the process goes on, too.
    RealShims,
    /// The guard's: what the real shim still says of the process contradicts them.
    Guards,
}

/// Life of a process as far as the guard has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Create or Exec is under way.
    Adding,
    /// Create or Exec succeeded.
    Added,
    /// Start succeeded.
    Started,
}

/// A container's init or an exec'd process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Calls numbered below this are about a predecessor of the same name.
    pub(crate) born: CallId,
    pub(crate) about: About,
    pub(crate) life: Life,
    /// When its start was known.
    started: Time,
    pub(crate) pid: u32,
    /// The last status that the real shim reported, for pause and resume.
    pub(crate) status: Status,
    pub(crate) exit: Option<Exit>,
    /// When that became known.
    pub(crate) exited: Option<Time>,
    /// Who has published its exit.
    pub(crate) published: Option<Voice>,
    pub(crate) wait_call: Option<CallId>,
    /// Since when Wait has been answered with nothing but errors.
    pub(crate) wait_failing: Option<Time>,
    pub(crate) state: Ask,
    pub(crate) signals: Vec<Pending>,
    /// Since when signals other than SIGKILL have been answered with nothing but errors.
    pub(crate) refused: Option<Time>,
    pub(crate) kill: Option<Clock>,
    pub(crate) delete: Option<Clock>,
    pub(crate) delete_call: Option<CallId>,
    /// The guard is releasing it by itself, and by then that has come back.
    pub(crate) releasing: Option<Time>,
    /// It is deleted or released, and nobody has heard of that.
    pub(crate) deleted: bool,
    /// It was the guard that did it, by itself.
    pub(crate) released: bool,
    /// When the real shim first called it stopped without an exit being known.
    pub(crate) lingers: Option<Time>,
    /// It must be deleted as soon as it has ended (private End).
    pub(crate) end: bool,
    /// /proc said that its sentry is dead, though no exit is known yet.
    pub(crate) sentry_dead: bool,
    /// When the real shim last said that it runs, if nothing was asked for since that may change that.
    certain: Option<Time>,
    /// When such a thing was last asked for, or done.
    changed: Time,
}

impl Process {
    pub(crate) fn new(born: CallId, about: About) -> Self {
        Self {
            born,
            about,
            life: Life::Adding,
            started: Time::default(),
            pid: 0,
            status: Status::Created,
            exit: None,
            exited: None,
            published: None,
            wait_call: None,
            wait_failing: None,
            state: Ask::default(),
            signals: Vec::new(),
            refused: None,
            kill: None,
            delete: None,
            delete_call: None,
            releasing: None,
            deleted: false,
            released: false,
            lingers: None,
            end: false,
            sentry_dead: false,
            certain: None,
            changed: Time::default(),
        }
    }

    /// It has started; a Delete that was refused before that is under way no more.
    pub(crate) fn starts(&mut self, now: Time) {
        if self.life != Life::Started {
            (self.life, self.started) = (Life::Started, now);
        }
        if self.delete_call.is_none() && self.releasing.is_none() {
            self.delete = None;
        }
    }

    /// Whether it has started after the last SIGKILL was sent, and that was refused.
    pub(crate) fn refused_before_start(&self) -> bool {
        let refused = self.kill.and_then(|clock| clock.refused);
        self.life == Life::Started && refused.is_some_and(|sent| sent < self.started)
    }

    /// The real shim says that it runs, in answer to what was sent at `asked`.
    pub(crate) fn runs(&mut self, asked: Time, now: Time) {
        self.status = Status::Running;
        self.certain = (asked > self.changed).then_some(now);
    }

    /// Something is asked for, or done, after which it may not run any more.
    pub(crate) fn may_change(&mut self, now: Time) {
        self.certain = None;
        self.changed = now;
    }

    /// Whether its record is as good as what the real shim would say.
    pub(crate) fn is_certain(&self, now: Time) -> bool {
        let untouched = self.exit.is_none() && self.kill.is_none() && self.delete.is_none();
        let fresh = self.certain.is_some_and(|said| now < said + CERTAIN_FOR);
        untouched && fresh && self.life == Life::Started && !self.sentry_dead
    }

    /// The status as State tells it from the record.
    pub(crate) fn status(&self) -> Status {
        match (self.exit, self.life) {
            (Some(_), _) => Status::Stopped,
            (None, Life::Added | Life::Started) if self.sentry_dead => Status::Stopped,
            (None, Life::Adding | Life::Added) => Status::Created,
            (None, Life::Started) => self.status,
        }
    }
}

/// Whether what a Create began is being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teardown {
    /// No.
    None,
    /// Yes, and by then that has come back.
    Until(Time),
    /// It has not.
    Lost,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
    pub(crate) stats: Ask,
    pub(crate) pids: Ask,
    /// When its Create was sent, while that is under way.
    pub(crate) creating: Option<Time>,
    /// Whether what its Create began is being killed.
    pub(crate) teardown: Teardown,
    /// When the real shim last answered anything about it.
    pub(crate) spoke: Time,
    /// The greeting that it has not answered, and when that was sent. One whose connection was lost is none.
    pub(crate) greeting: Option<(CallId, Time)>,
}

impl Task {
    pub(crate) fn new(born: CallId, about: About, now: Time) -> Self {
        Self {
            init: Process::new(born, about),
            execs: BTreeMap::new(),
            stats: Ask::default(),
            pids: Ask::default(),
            creating: Some(now),
            teardown: Teardown::None,
            spoke: now,
            greeting: None,
        }
    }

    /// Every process, init first, each with its exec id.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&str, &Process)> {
        core::iter::once(("", &self.init)).chain(self.execs.iter().map(|(id, p)| (id.as_str(), p)))
    }
}

/// All containers of the sandbox.
#[derive(Debug, Default)]
pub(crate) struct Tasks(pub(crate) BTreeMap<String, Task>);

impl Tasks {
    pub(crate) fn get(&self, id: &ProcessId) -> Option<&Process> {
        let task = self.0.get(&id.container)?;
        if id.is_init() { Some(&task.init) } else { task.execs.get(&id.exec) }
    }

    pub(crate) fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Process> {
        let task = self.0.get_mut(&id.container)?;
        if id.is_init() { Some(&mut task.init) } else { task.execs.get_mut(&id.exec) }
    }

    pub(crate) fn remove(&mut self, id: &ProcessId) -> Option<Process> {
        if id.is_init() {
            self.0.remove(&id.container).map(|task| task.init)
        } else {
            self.0.get_mut(&id.container)?.execs.remove(&id.exec)
        }
    }

    /// Every process of every container.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        self.0.iter().flat_map(|(container, task)| {
            task.processes().map(move |(exec, process)| {
                (ProcessId { container: container.clone(), exec: exec.into() }, process)
            })
        })
    }

    /// The ids of a container's execs; none for an exec.
    pub(crate) fn execs_of(&self, id: &ProcessId) -> Vec<ProcessId> {
        let task = self.0.get(&id.container).filter(|_| id.is_init());
        let execs = task.into_iter().flat_map(|task| task.execs.keys());
        execs.map(|exec| ProcessId { container: id.container.clone(), exec: exec.clone() }).collect()
    }

    /// The ids of every process, for walks that change them.
    pub(crate) fn ids(&self) -> Vec<ProcessId> {
        self.processes().map(|(id, _)| id).collect()
    }
}
