//! What the guard said and did, checked as it comes in: the invariants that hold in every run. One reply per request
//! and in time, one exit per task (rule 3); nothing done to a sandbox that answers in time (rule 2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use std::vec::Vec;

use crate::exit::Exit;
use crate::io::{
    Answer, CallId, Event, Note, Output, OwnCall, ProcessId, Publication, Request, RequestId, Step, Way,
};
use crate::policy::{ANSWER_MARGIN, Policy, budgets};
use crate::task::SIGKILL;
use crate::tests::on::On;
use crate::time::Time;

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) caller: Option<Duration>,
    pub(crate) at: Time,
}

/// A call as it reached the real shim.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    pub(crate) timeout: Duration,
}

/// What the guard may pass on just now.
pub(crate) enum Incoming {
    Nothing,
    Event(Event),
    Answer(Request),
}

impl Incoming {
    fn is_answer_to(&self, request: &Request) -> bool {
        matches!(self, Self::Answer(of) if On::of(of) == On::of(request))
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    policy: Policy,
    /// Requests that nobody has answered, nor abandoned.
    pub(crate) open: BTreeSet<RequestId>,
    pub(crate) asked: BTreeMap<RequestId, Asked>,
    pub(crate) abandoned: BTreeSet<RequestId>,
    pub(crate) answers: BTreeMap<RequestId, (Time, Answer)>,
    pub(crate) calls: BTreeMap<CallId, Sent>,
    /// What was forwarded, and by which way.
    pub(crate) forwarded: BTreeMap<RequestId, Way>,
    pub(crate) in_flight: BTreeSet<CallId>,
    pub(crate) cancelled: BTreeSet<CallId>,
    /// What containerd got, with the event that the guard passed on or replaced.
    pub(crate) published: Vec<(Time, Event)>,
    pub(crate) steps: Vec<(Time, Step)>,
    pub(crate) notes: Vec<(Time, Note)>,
    pub(crate) probes: Vec<(Time, Duration)>,
    /// Looks for containerd's memory.
    pub(crate) recalls: usize,
    /// Whose exit the guard has published in its own words.
    spoken_for: BTreeSet<ProcessId>,
    /// Processes whose Start succeeded.
    pub(crate) started: BTreeSet<ProcessId>,
    pub(crate) listening: bool,
    pub(crate) quit: bool,
    /// The node goes down: nobody deletes anything any more.
    pub(crate) node_is_down: bool,
    /// Time in which the guard did not run: answers may be later by it.
    pub(crate) lateness: Duration,
}

impl Ledger {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, listening: true, ..Self::default() }
    }

    /// Enters one output. `fresh` is what is being handled, `tasks` the containers that are left.
    pub(crate) fn enter(&mut self, now: Time, output: &Output, incoming: &Incoming, tasks: usize) {
        assert!(!self.quit, "after Quit: {output:?}");
        match output {
            Output::Reply(id, answer) => {
                assert!(self.asked.contains_key(id), "answer to an unknown request {id:?}");
                assert!(!self.abandoned.contains(id), "answer to an abandoned request {id:?}");
                let before = self.answers.insert(*id, (now, answer.clone()));
                assert!(before.is_none(), "{id:?} answered twice: {before:?}, {answer:?}");
                self.open.remove(id);
                let asked = &self.asked[id];
                assert!(
                    *answer != Answer::Relay || incoming.is_answer_to(&asked.request),
                    "{asked:?}: nothing to relay"
                );
                if let Some(bound) = bound(&self.policy, asked) {
                    let took = now - asked.at;
                    assert!(took <= bound + self.lateness, "{asked:?} after {took:?}: {answer:?}");
                }
            }
            Output::Forward { call, request, timeout, way } => {
                let open = !self.answers.contains_key(request) && !self.abandoned.contains(request);
                let before = self.forwarded.insert(*request, *way);
                assert!(before.is_none(), "{request:?} forwarded twice");
                assert!(open, "forwarded a request that nobody waits for: {request:?}");
                self.sent(*call, self.asked[request].request.clone(), *timeout, false);
            }
            Output::Call { call, own, timeout } => self.sent(*call, op_of(own), *timeout, true),
            Output::Cancel(call) => {
                assert!(self.in_flight.remove(call), "cancelled a call that is not in flight: {call:?}");
                self.cancelled.insert(*call);
            }
            Output::Publish(Publication::AsReceived) => {
                let Incoming::Event(event) = incoming else { panic!("no event to pass on") };
                self.passed_on(now, event.clone());
            }
            Output::Publish(Publication::Exit(id, exit)) => self.told(now, id, *exit),
            Output::Probe(timeout) => self.probes.push((now, *timeout)),
            Output::Recall => self.recalls += 1,
            Output::Step(step, _) => self.steps.push((now, step.clone())),
            Output::StopListening => {
                assert!(self.listening, "stopped listening twice");
                self.listening = false;
            }
            Output::Save => {}
            Output::Note(note) => self.notes.push((now, note.clone())),
            Output::Quit => {
                assert!(tasks == 0 || self.node_is_down, "quit with {tasks} containers left");
                assert!(!self.listening, "quit while listening");
                self.quit = true;
            }
        }
    }

    fn sent(&mut self, call: CallId, request: Request, timeout: Duration, own: bool) {
        let shutdown = matches!(request, Request::Shutdown);
        assert!(!timeout.is_zero() || matches!(request, Request::Wait(_)), "{request:?} without a timeout");
        assert!(!shutdown || own, "a Shutdown was forwarded");
        assert!(self.calls.insert(call, Sent { request, timeout }).is_none(), "{call:?} twice");
        self.in_flight.insert(call);
    }

    /// What the real shim says goes on, unless it contradicts an exit that the guard has told.
    fn passed_on(&mut self, at: Time, event: Event) {
        if let Event::Exit(id, _) | Event::Alive(id) = &event {
            assert!(!self.spoken_for.contains(id), "{event:?} after the guard's own word");
        }
        self.published.push((at, event));
    }

    /// The guard itself tells an exit only of what has none, and once (rule 3).
    fn told(&mut self, at: Time, id: &ProcessId, exit: Exit) {
        assert_eq!(self.exits(id), 0, "the exit of {id:?} published twice");
        self.spoken_for.insert(id.clone());
        self.published.push((at, Event::Exit(id.clone(), exit)));
    }

    /// Whether the guard must pass on what the real shim says: always, as long as it has killed nothing and not told
    /// the process's exit itself (rule 2).
    pub(crate) fn must_pass_on(&self, event: &Event) -> bool {
        let forced = self.steps.iter().any(|(_, step)| is_fatal(step));
        match event {
            Event::Exit(id, _) | Event::Alive(id) => !forced && !self.spoken_for.contains(id),
            Event::Other => true,
        }
    }

    /// How often the exit of a process was published.
    pub(crate) fn exits(&self, id: &ProcessId) -> usize {
        self.published.iter().filter(|(_, event)| matches!(event, Event::Exit(of, _) if of == id)).count()
    }

    /// How often the sandbox was touched.
    pub(crate) fn kills(&self) -> usize {
        self.steps
            .iter()
            .filter(|(_, step)| !matches!(step, Step::Release | Step::ReleaseOne(_) | Step::Watch))
            .count()
    }

    /// How many calls for which `wanted` holds reached the real shim.
    pub(crate) fn count(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        self.calls.values().filter(|sent| wanted(&sent.request)).count()
    }

    pub(crate) fn ask(&mut self, id: RequestId, asked: Asked) {
        self.asked.insert(id, asked);
        self.open.insert(id);
    }

    /// Nothing that is due by `now` is still open.
    pub(crate) fn check_open(&self, now: Time) {
        for asked in self.open.iter().map(|id| &self.asked[id]) {
            let Some(bound) = bound(&self.policy, asked) else { continue };
            let bound = bound + self.lateness;
            assert!(now - asked.at < bound || bound.is_zero(), "{asked:?} never answered, now {now:?}");
        }
    }
}

/// Whether a step of the escalation kills.
fn is_fatal(step: &Step) -> bool {
    matches!(step, Step::KillSandbox | Step::KillAll)
}

fn op_of(own: &OwnCall) -> Request {
    match own {
        OwnCall::Kill { process, signal, all } => {
            Request::Kill { process: process.clone(), signal: *signal, all: *all }
        }
        OwnCall::Delete(process) => Request::Delete(process.clone()),
        OwnCall::Greet(container) => Request::Checkpoint(container.clone()),
        OwnCall::Shutdown => Request::Shutdown,
    }
}

/// How long an answer may take; `None` for a Wait without a time of its own, which ends with the exit.
pub(crate) fn bound(policy: &Policy, asked: &Asked) -> Option<Duration> {
    let limit = match &asked.request {
        Request::Wait(_) => asked.caller?,
        Request::Connect(_) | Request::Join(_) => Duration::ZERO,
        Request::State(..) | Request::Pids(..) => policy.query_deadline,
        Request::Stats(_) => policy.stats_deadline,
        Request::Create(..) => policy.create_deadline + budgets::TOTAL * 2,
        Request::Start(process) if process.is_init() => policy.start_deadline,
        Request::Checkpoint(_) => asked.caller.unwrap_or(policy.start_deadline),
        Request::Kill { signal, .. } if *signal == SIGKILL => {
            policy.kill_deadline + budgets::TOTAL + budgets::OVERLOAD
        }
        Request::Kill { .. } => policy.signal_deadline,
        Request::Delete(_) => policy.delete_deadline + budgets::TOTAL + budgets::OVERLOAD,
        Request::Shutdown => policy.shutdown_deadline,
        Request::End(_) => policy.delete_deadline * 2 + budgets::TOTAL,
        _ => policy.exec_deadline,
    };
    let caller = asked.caller.map(|all| all.saturating_sub(ANSWER_MARGIN).max(all / 2));
    Some(caller.map_or(limit, |caller| caller.min(limit)))
}
