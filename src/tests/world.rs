//! The fake world: a clock that jumps to whatever is due next, the fakes behind the guard, containerd before
//! it, and a ledger of everything that the guard said and did.

use std::collections::BTreeMap;
use std::time::Duration;
use std::vec::Vec;

use crate::guard::Guard;
use crate::io::{
    Answer, Event, Input, Outcome, Output, ProcessId, ProcessSpec, Publication, Request, RequestId, Step,
};
use crate::policy::{CERTAIN_FOR, LATENESS, Policy};
use crate::tests::fake::{Does, Fakes, Soon, at, ms};
use crate::tests::kernel::{Hears, Lasts};
use crate::tests::ledger::{Asked, Incoming, Ledger};
use crate::tests::on::{self, On};
use crate::time::Time;

pub(crate) use crate::tests::requests::{create, delete, init, pids, sigkill, sigterm, state};

/// More wake-ups than this at one moment is a busy loop.
const WAKE_UPS: usize = 2;

pub(crate) struct World {
    pub(crate) guard: Guard,
    pub(crate) now: Time,
    pub(crate) fakes: Fakes,
    pub(crate) ledger: Ledger,
    coming: BTreeMap<(Time, u64), Input>,
    serial: u64,
    next_request: u64,
    /// How often the guard was woken at the present moment.
    wake_ups: (Time, usize),
}

impl World {
    /// A guard for the sandbox of `root`, nothing created.
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            ledger: Ledger::new(policy.clone()),
            guard: Guard::new(policy, "root".into(), "root".into()),
            now: at(0),
            fakes: Fakes::new(),
            coming: BTreeMap::new(),
            serial: 0,
            next_request: 0,
            wake_ups: (at(0), 0),
        }
    }

    /// A stand-alone container `root`, started so long ago that its record is no longer certain.
    pub(crate) fn alone() -> Self {
        let mut world = Self::new(Policy::default());
        world.started("root");
        world.run(CERTAIN_FOR);
        world
    }

    /// A pod: root and a member `app`, both started.
    pub(crate) fn pod() -> Self {
        Self::pod_with(Policy::default())
    }

    pub(crate) fn pod_with(policy: Policy) -> Self {
        let mut world = Self::new(policy);
        world.started("root");
        world.started("app");
        world.run(CERTAIN_FOR);
        world
    }

    /// A pod with a second member `side`, which nobody asks to end.
    pub(crate) fn siblings() -> Self {
        Self::siblings_with(Policy::default())
    }

    pub(crate) fn siblings_with(policy: Policy) -> Self {
        let mut world = Self::pod_with(policy);
        world.started("side");
        world.run(CERTAIN_FOR);
        world
    }

    /// Creates and starts a container.
    pub(crate) fn started(&mut self, container: &str) {
        self.relayed(create(container));
        self.relayed(Request::Start(init(container)));
    }

    /// Adds and starts an exec.
    pub(crate) fn exec(&mut self, container: &str, exec: &str) -> ProcessId {
        let id = ProcessId { container: container.into(), exec: exec.into() };
        self.relayed(Request::Exec(id.clone(), ProcessSpec::default()));
        self.relayed(Request::Start(id.clone()));
        id
    }

    /// A request that must be relayed within a few milliseconds.
    #[track_caller]
    pub(crate) fn relayed(&mut self, request: Request) {
        self.relayed_within(request, ms(5));
    }

    #[track_caller]
    pub(crate) fn relayed_within(&mut self, request: Request, time: Duration) {
        let id = self.ask(request);
        self.run(time);
        assert_eq!(self.answer(id), Some(Answer::Relay));
    }

    pub(crate) fn does(&mut self, on: On, does: Does) {
        self.fakes.script.insert(on, does);
    }

    /// The sentry is stopped: whatever needs it hangs.
    pub(crate) fn stop_sentry(&mut self) {
        for on in [
            on::STATE,
            on::STATS,
            on::PIDS,
            on::KILL,
            on::SIGKILL,
            on::DELETE,
            on::EXEC,
            on::START,
            on::PAUSE,
        ] {
            self.does(on, Does::Hang);
        }
        self.fakes.sentry = Hears::Nothing;
    }

    pub(crate) fn step(&mut self, step: Step, lasts: Lasts) {
        self.fakes.steps.insert(step.kind(), lasts);
    }

    pub(crate) fn ask(&mut self, request: Request) -> RequestId {
        self.ask_within(request, None)
    }

    pub(crate) fn ask_within(&mut self, request: Request, caller: Option<Duration>) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.ledger.ask(id, Asked { request: request.clone(), caller, at: self.now });
        self.handle(Input::Request { id, request, caller });
        id
    }

    pub(crate) fn abandon(&mut self, id: RequestId) {
        self.ledger.abandoned.insert(id);
        self.ledger.open.remove(&id);
        self.handle(Input::Abandoned(id));
    }

    /// A process ends by itself.
    pub(crate) fn exits(&mut self, id: &ProcessId, status: u32) {
        let soon = self.fakes.exit(id, status, ms(0));
        self.expect(soon);
    }

    pub(crate) fn expect(&mut self, soon: Soon) {
        for (after, input) in soon {
            self.coming.insert((self.now + after, self.serial), input);
            self.serial += 1;
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.handle(Input::Event(event));
    }

    pub(crate) fn shim_dies(&mut self) {
        self.fakes.shim_dead = true;
        self.handle(Input::RealShimExited);
    }

    /// SIGTERM ends the real shim alone.
    pub(crate) fn shim_leaves(&mut self) {
        self.fakes.shim_dead = true;
        self.handle(Input::RealShimLeft);
    }

    /// The node goes down.
    pub(crate) fn node_goes_down(&mut self) {
        self.ledger.node_is_down = true;
        self.handle(Input::Terminate);
    }

    pub(crate) fn stuck_die(&mut self) {
        self.fakes.unkillable.clear();
        self.handle(Input::StuckDied);
    }

    /// Hands one input to the guard and carries out what it wants.
    pub(crate) fn handle(&mut self, input: Input) {
        if self.ledger.quit {
            return;
        }
        self.note_start(&input);
        let due = matches!(&input, Input::Event(event) if self.ledger.must_pass_on(event));
        let mut passed_on = false;
        let incoming = match &input {
            Input::Event(event) => Incoming::Event(event.clone()),
            Input::Returned(call, Outcome::Done(_) | Outcome::Failed { .. }) => {
                Incoming::Answer(self.ledger.calls[call].request.clone())
            }
            _ => Incoming::Nothing,
        };
        let known = self.guard.known_exits();
        self.guard.handle(self.now, input);
        while let Some(output) = self.guard.poll_output() {
            self.check_unkillable(&output, &incoming, &known);
            passed_on |= output == Output::Publish(Publication::AsReceived);
            let tasks = self.guard.record().len();
            self.ledger.enter(self.now, &output, &incoming, tasks);
            let soon = match &output {
                Output::Forward { call, .. } | Output::Call { call, .. } => {
                    let sent = self.ledger.calls[call].clone();
                    self.fakes.call(*call, &sent)
                }
                Output::Step(step, _) => self.fakes.take(step),
                Output::Probe(timeout) => self.fakes.probe(*timeout),
                Output::Recall => self.fakes.recall(),
                Output::Cancel(call) => self.fakes.cancel(*call),
                // No input answers these.
                Output::Reply(..)
                | Output::Publish(_)
                | Output::StopListening
                | Output::Save
                | Output::Note(_)
                | Output::Quit => Vec::new(),
            };
            self.expect(soon);
        }
        assert!(passed_on || !due, "an event of a healthy sandbox is lost: {:#?}", self.guard);
        assert_eq!(self.guard.next_timer(), self.guard.scan(), "the table of timers: {:#?}", self.guard);
        self.check_timer();
    }

    /// Lets time pass, jumping from one thing that is due to the next.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let coming = self.coming.keys().next().copied();
            let timeout = self.guard.poll_timeout().map(|(_, at)| at).filter(|_| !self.ledger.quit);
            let first = coming.map(|(time, _)| time).into_iter().chain(timeout).min();
            let Some(first) = first.filter(|first| *first <= end) else { break };
            self.now = self.now.max(first);
            match coming.filter(|(time, _)| *time <= self.now) {
                Some(key) => self.deliver(key),
                None => self.wake_up(),
            }
        }
        self.now = end;
        self.ledger.check_open(self.now);
    }

    fn deliver(&mut self, key: (Time, u64)) {
        let Some(input) = self.coming.remove(&key) else { return };
        if let Input::Returned(call, _) = &input {
            for (call, sent) in self.fakes.returned(*call) {
                let soon = self.fakes.call(call, &sent);
                self.expect(soon);
            }
            if !self.ledger.in_flight.remove(call) {
                return;
            }
        }
        self.handle(input);
    }

    /// A process that is known to the guard has been started.
    fn note_start(&mut self, input: &Input) {
        let (process, call) = match input {
            Input::Returned(call, Outcome::Done(_)) => match &self.ledger.calls[call].request {
                Request::Start(process) => (process, Some(*call)),
                _ => return,
            },
            Input::Event(Event::Alive(process)) => (process, None),
            _ => return,
        };
        if self.guard.knows(process, call) {
            self.ledger.started.insert(process.clone());
        }
    }

    fn wake_up(&mut self) {
        let (time, times) = self.wake_ups;
        let times = if time == self.now { times + 1 } else { 1 };
        self.wake_ups = (self.now, times);
        assert!(times <= WAKE_UPS, "busy loop at {:?}: {:#?}", self.now, self.guard);
        self.handle(Input::Tick);
    }

    /// The guard itself does not run for a while; what comes in meanwhile waits.
    pub(crate) fn stop_guard(&mut self, span: Duration) {
        self.now = self.now + span;
        self.ledger.lateness += span + LATENESS;
    }
}
