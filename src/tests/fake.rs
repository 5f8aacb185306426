//! The fake real shim: scripted, in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use crate::exit::Exit;
use crate::io::{
    CallId, Event, Input, Outcome, ProcessId, Recalled, Request, ResponseInfo, Status, StepKind,
};
use crate::task::SIGKILL;
use crate::tests::kernel::{Hears, Lasts};
use crate::tests::ledger::Sent;
use crate::tests::on::{self, Lost, METHODS, On};
use crate::time::Time;

mod exits;

/// What a process of the fake sandbox does next: inputs to come, after these times.
pub(crate) type Soon = Vec<(Duration, Input)>;

/// How the fake real shim treats a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers after this time, with its effect then.
    Work(Duration),
    /// Answers after this time, without any effect.
    Nothing(Duration),
    /// Fails after this time.
    Fail(Duration),
    /// Says NOT_FOUND after this time.
    NotFound(Duration),
    /// Waits for runsc: fails when the call's own time is up, or when runsc is killed.
    Hang,
    /// Never returns, whatever the call's timeout.
    Never,
    /// The connection ends after this time.
    Lose(Duration),
}

/// A process in the fake sandbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake {
    pid: u32,
    started: bool,
    /// A signal has ended it before its start.
    destroyed: bool,
    exit: Option<Exit>,
}

pub(crate) struct Fakes {
    /// How it treats requests; any other works within a millisecond.
    pub(crate) script: BTreeMap<On, Does>,
    pub(crate) steps: BTreeMap<StepKind, Lasts>,
    /// What did not come back.
    pub(crate) lost: BTreeSet<Lost>,
    /// What SIGKILL does not end; emptied by the test.
    pub(crate) unkillable: Vec<String>,
    /// Whether the next Free lets it die.
    pub(crate) free_works: bool,
    /// What holds up the unkillable is being watched.
    pub(crate) undecided: bool,
    /// What Release cannot remove.
    pub(crate) leftover: Vec<String>,
    /// How it takes a question.
    pub(crate) sentry: Hears,
    /// What a look for containerd's memory finds.
    pub(crate) recalled: Recalled,
    /// Whether it never returns.
    pub(crate) recall_hangs: bool,
    /// Whether the real shim reports the exits of a killed sandbox.
    pub(crate) reports: bool,
    /// Whether it is seen that it cannot.
    pub(crate) cannot_report: bool,
    /// Whether a signal destroys a container that was created and not started. Before 2026-08 it is an error there
    /// (gVisor runsc/container/container.go, signalCreated), and the container can be started all the same.
    pub(crate) destroys: bool,
    pub(crate) processes: BTreeMap<ProcessId, Fake>,
    next_pid: u32,
    /// Wall clock of the last exit.
    pub(crate) epoch_ns: u64,
    waits: BTreeMap<CallId, ProcessId>,
    pub(crate) hanging: BTreeSet<CallId>,
    /// A Create holds the one lock.
    lock: Option<CallId>,
    behind: Vec<(CallId, Sent)>,
    pub(crate) shim_dead: bool,
    /// It went with the root container.
    sentry_gone: bool,
}

impl Fakes {
    pub(crate) fn new() -> Self {
        Self {
            script: BTreeMap::new(),
            steps: BTreeMap::new(),
            lost: BTreeSet::new(),
            unkillable: Vec::new(),
            free_works: false,
            undecided: false,
            leftover: Vec::new(),
            sentry: Hears::Answers(ms(20)),
            recalled: Recalled::Known,
            recall_hangs: false,
            reports: true,
            cannot_report: false,
            destroys: true,
            processes: BTreeMap::new(),
            next_pid: 100,
            epoch_ns: 1_000,
            waits: BTreeMap::new(),
            hanging: BTreeSet::new(),
            lock: None,
            behind: Vec::new(),
            shim_dead: false,
            sentry_gone: false,
        }
    }

    /// A call reaches the real shim.
    pub(crate) fn call(&mut self, call: CallId, sent: &Sent) -> Soon {
        if self.shim_dead {
            return Vec::from([(ms(1), Input::Returned(call, Outcome::Lost))]);
        }
        let on = On::of(&sent.request);
        assert!(METHODS.contains(&on), "{on:?} is not among what is lost");
        let greeting = matches!(sent.request, Request::Checkpoint(_));
        if greeting && !self.script.contains_key(&on::CHECKPOINT) {
            return fail(call, ms(1));
        }
        if self.lock.is_some() && !greeting && !matches!(sent.request, Request::Wait(_)) {
            self.behind.push((call, sent.clone()));
            return Vec::new();
        }
        if matches!(sent.request, Request::Create(..)) {
            self.lock = Some(call);
        }
        let fails = |not_found| Input::Returned(call, Outcome::Failed { not_found });
        match self.script.get(&on).copied().unwrap_or(Does::Work(ms(1))) {
            Does::Work(_) | Does::Nothing(_) | Does::Hang if let Request::Wait(process) = &sent.request => {
                self.wait(call, process)
            }
            Does::Work(after) => self.work(call, &sent.request, after),
            Does::Nothing(after) => {
                Vec::from([(after, Input::Returned(call, Outcome::Done(ResponseInfo::Nothing)))])
            }
            Does::Fail(after) => Vec::from([(after, fails(false))]),
            Does::NotFound(after) => Vec::from([(after, fails(true))]),
            Does::Lose(after) => Vec::from([(after, Input::Returned(call, Outcome::Lost))]),
            Does::Hang => {
                self.hanging.insert(call);
                Vec::from([(sent.timeout, fails(false))])
            }
            Does::Never => {
                self.lost.insert(Lost::Request(on));
                Vec::new()
            }
        }
    }

    fn work(&mut self, call: CallId, request: &Request, after: Duration) -> Soon {
        let mut soon = Soon::new();
        let told = match request {
            Request::Create(id, _) if self.processes.contains_key(&ProcessId::init(id)) => {
                return fail(call, after);
            }
            Request::Create(..) | Request::Exec(..) | Request::Start(_) if self.sentry_gone => {
                return fail(call, after);
            }
            Request::Exec(id, _) if !self.processes.contains_key(&ProcessId::init(&id.container)) => {
                return not_found(call, after);
            }
            Request::Exec(id, _) if self.processes.contains_key(id) => return fail(call, after),
            Request::Create(id, _) => ResponseInfo::Pid(self.add(ProcessId::init(id))),
            Request::Exec(id, _) => {
                self.add(id.clone());
                ResponseInfo::Nothing
            }
            Request::Start(id) => {
                let Some(fake) = self.processes.get_mut(id) else { return not_found(call, after) };
                if fake.destroyed {
                    return fail(call, after);
                }
                fake.started = true;
                let pid = fake.pid;
                soon.push((after, Input::Event(Event::Alive(id.clone()))));
                ResponseInfo::Pid(pid)
            }
            Request::State(id, _) => {
                let Some(fake) = self.processes.get(id) else { return not_found(call, after) };
                let status = match fake {
                    Fake { exit: Some(_), .. } => Status::Stopped,
                    Fake { started: true, .. } => Status::Running,
                    _ => Status::Created,
                };
                ResponseInfo::State { status, pid: fake.pid }
            }
            Request::Kill { process, signal, .. } => {
                match self.processes.get_mut(process) {
                    None | Some(Fake { exit: Some(_), .. }) => return not_found(call, after),
                    Some(fake) if !fake.started && process.is_init() => {
                        if !self.destroys {
                            return fail(call, after);
                        }
                        fake.destroyed = true;
                    }
                    Some(_) => {}
                }
                if *signal == SIGKILL {
                    soon.extend(self.exit(process, 137, after + ms(1)));
                }
                ResponseInfo::Nothing
            }
            Request::Delete(id) => match self.processes.get(id).map(|fake| fake.exit) {
                Some(Some(exit)) => {
                    self.processes.remove(id);
                    ResponseInfo::Exit(exit)
                }
                Some(None) if !self.processes[id].started => {
                    let fake = self.processes.remove(id).unwrap_or_default();
                    ResponseInfo::Exit(Exit { pid: fake.pid, status: 0, at_ns: self.epoch_ns })
                }
                Some(None) => return fail(call, after),
                None => return not_found(call, after),
            },
            Request::Shutdown => {
                self.shim_dead = true;
                soon.push((after + ms(2), Input::RealShimExited));
                ResponseInfo::Nothing
            }
            _ => ResponseInfo::Nothing,
        };
        soon.push((after, Input::Returned(call, Outcome::Done(told))));
        soon
    }

    fn add(&mut self, id: ProcessId) -> u32 {
        self.next_pid += 1;
        self.processes.insert(id, Fake { pid: self.next_pid, ..Fake::default() });
        self.next_pid
    }

    fn wait(&mut self, call: CallId, id: &ProcessId) -> Soon {
        match self.processes.get(id) {
            None => not_found(call, ms(1)),
            Some(Fake { exit: Some(exit), .. }) => waited(call, *exit, ms(1)),
            Some(_) => {
                self.waits.insert(call, id.clone());
                Vec::new()
            }
        }
    }
}

fn not_found(call: CallId, after: Duration) -> Soon {
    Vec::from([(after, Input::Returned(call, Outcome::Failed { not_found: true }))])
}

pub(crate) fn fail(call: CallId, after: Duration) -> Soon {
    Vec::from([(after, Input::Returned(call, Outcome::Failed { not_found: false }))])
}

fn waited(call: CallId, exit: Exit, after: Duration) -> Soon {
    // The answer to a Wait has no pid.
    let told = ResponseInfo::Exit(Exit { pid: 0, ..exit });
    Vec::from([(after, Input::Returned(call, Outcome::Done(told)))])
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The moment `millis` after the start.
pub(crate) const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}
