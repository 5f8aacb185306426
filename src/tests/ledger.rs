//! What the guard said and did, checked as it comes in: the invariants that hold in every run. One reply per request
//! and in time, one exit per task (rule 3); nothing done to a sandbox that answers in time (rule 2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use std::vec::Vec;

use crate::exit::Exit;
use crate::io::{Answer, CallId, Event, Note, Op, Output, OwnCall, ProcessId, Publication, RequestId, Rung};
use crate::policy::{ANSWER_MARGIN, Policy, rungs};
use crate::task::SIGKILL;
use crate::tests::on::On;
use crate::time::Time;

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) op: Op,
    pub(crate) caller: Option<Duration>,
    pub(crate) at: Time,
}

/// A call as it reached the real shim.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) op: Op,
    pub(crate) timeout: Duration,
}

/// What the guard may pass on just now.
pub(crate) enum Fresh {
    Nothing,
    Event(Event),
    Answer(Op),
}

impl Fresh {
    fn is_answer_to(&self, op: &Op) -> bool {
        matches!(self, Self::Answer(of) if On::of(of) == On::of(op))
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
    forwarded: BTreeSet<RequestId>,
    pub(crate) in_flight: BTreeSet<CallId>,
    pub(crate) cancelled: BTreeSet<CallId>,
    /// What containerd got, with the event that the guard passed on or replaced.
    pub(crate) published: Vec<(Time, Event)>,
    pub(crate) rungs: Vec<(Time, Rung)>,
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
    pub(crate) fn enter(&mut self, now: Time, output: &Output, fresh: &Fresh, tasks: usize) {
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
                    *answer != Answer::Relay || fresh.is_answer_to(&asked.op),
                    "{asked:?}: nothing to relay"
                );
                if let Some(bound) = bound(&self.policy, asked) {
                    let took = now - asked.at;
                    assert!(took <= bound + self.lateness, "{asked:?} after {took:?}: {answer:?}");
                }
            }
            Output::Forward { call, request, timeout, .. } => {
                let open = !self.answers.contains_key(request) && !self.abandoned.contains(request);
                assert!(self.forwarded.insert(*request), "{request:?} forwarded twice");
                assert!(open, "forwarded a request that nobody waits for: {request:?}");
                self.sent(*call, self.asked[request].op.clone(), *timeout, false);
            }
            Output::Call { call, own, timeout } => self.sent(*call, op_of(own), *timeout, true),
            Output::Cancel(call) => {
                assert!(self.in_flight.remove(call), "cancelled a call that is not in flight: {call:?}");
                self.cancelled.insert(*call);
            }
            Output::Publish(Publication::AsReceived) => {
                let Fresh::Event(event) = fresh else { panic!("no event to pass on") };
                self.passed_on(now, event.clone());
            }
            Output::Publish(Publication::Exit(id, exit)) => self.told(now, id, *exit),
            Output::Probe(timeout) => self.probes.push((now, *timeout)),
            Output::Recall => self.recalls += 1,
            Output::Rung(rung, _) => self.rungs.push((now, rung.clone())),
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

    fn sent(&mut self, call: CallId, op: Op, timeout: Duration, own: bool) {
        let shutdown = matches!(op, Op::Shutdown);
        assert!(!timeout.is_zero() || matches!(op, Op::Wait(_)), "{op:?} without a timeout");
        assert!(!shutdown || own, "a Shutdown was forwarded");
        assert!(self.calls.insert(call, Sent { op, timeout }).is_none(), "{call:?} twice");
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
        let forced = self.rungs.iter().any(|(_, rung)| is_fatal(rung));
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
        self.rungs
            .iter()
            .filter(|(_, rung)| !matches!(rung, Rung::Release | Rung::ReleaseOne(_) | Rung::Watch))
            .count()
    }

    /// How many calls for which `wanted` holds reached the real shim.
    pub(crate) fn count(&self, wanted: impl Fn(&Op) -> bool) -> usize {
        self.calls.values().filter(|sent| wanted(&sent.op)).count()
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

/// Whether a step of the ladder kills.
fn is_fatal(rung: &Rung) -> bool {
    matches!(rung, Rung::KillSandbox | Rung::KillAll)
}

fn op_of(own: &OwnCall) -> Op {
    match own {
        OwnCall::Signal { process, signal, all } => {
            Op::Kill { process: process.clone(), signal: *signal, all: *all }
        }
        OwnCall::Delete(process) => Op::Delete(process.clone()),
        OwnCall::Greet(container) => Op::Checkpoint(container.clone()),
        OwnCall::Shutdown => Op::Shutdown,
    }
}

/// How long an answer may take; `None` for Wait, which ends with the exit.
pub(crate) fn bound(policy: &Policy, asked: &Asked) -> Option<Duration> {
    let limit = match &asked.op {
        Op::Wait(_) => return None,
        Op::Connect(_) | Op::Join(_) => Duration::ZERO,
        Op::State(..) | Op::Pids(..) => policy.query_deadline,
        Op::Stats(_) => policy.stats_deadline,
        Op::Create(..) => policy.create_deadline + rungs::TOTAL * 2,
        Op::Start(process) if process.is_init() => policy.start_deadline,
        Op::Checkpoint(_) => asked.caller.unwrap_or(policy.start_deadline),
        Op::Kill { signal, .. } if *signal == SIGKILL => {
            policy.kill_deadline + rungs::TOTAL + rungs::OVERLOAD
        }
        Op::Kill { .. } => policy.signal_deadline,
        Op::Delete(_) => policy.delete_deadline + rungs::TOTAL + rungs::OVERLOAD,
        Op::Shutdown => policy.shutdown_deadline,
        Op::End(_) => policy.delete_deadline * 2 + rungs::TOTAL,
        _ => policy.exec_deadline,
    };
    let caller = asked.caller.map(|all| all.saturating_sub(ANSWER_MARGIN).max(all / 2));
    Some(caller.map_or(limit, |caller| caller.min(limit)))
}
