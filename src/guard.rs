//! The state machine: one input in, outputs out, then sleep until the named deadline.
//!
//! This is the whole of its interface. What it knows is in [`State`](crate::state), each part with its own fields; what
//! a request or a response does is in `method`, what a passed deadline does in `escalation`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::escalation::{judge, release, silence, steps, teardown, unkillable};
use crate::exit::Exit;
use crate::exits;
use crate::io::{Input, Note, Output, ProbeResult, StepResult};
use crate::method::{self, private, shutdown};
use crate::node;
use crate::phase::Phase;
use crate::policy::Policy;
use crate::settle;
use crate::signals;
use crate::state::{FollowUps, State};
use crate::task::Container;
use crate::time::Time;
use crate::timers::Timer;
use crate::view::{self, View};

/// One sandbox's guard. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Guard {
    state: State,
}

/// A container in the record that teardown needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: String,
    /// The task's pid: the sentry's.
    pub pid: u32,
    /// How it ended, once that is known.
    pub exit: Option<Exit>,
}

impl Guard {
    /// A guard for the sandbox whose root container is `sandbox`, with a place reserved for `first`.
    pub fn new(policy: Policy, sandbox: String, first: String) -> Self {
        Self { state: State::new(policy, sandbox, first) }
    }

    /// Takes one input. `now` must not run backwards. Drain [`Guard::poll_output`] before the next.
    pub fn handle(&mut self, now: Time, input: Input) {
        let state = &mut self.state;
        let first = state.timers.next().map(|(_, at)| at);
        if let Some(late) = state.present.advance(now, first) {
            state.note(Note::Late(late));
        }
        match input {
            Input::Request { id, request, caller } => method::request(state, id, request, caller),
            Input::Abandoned(id) => _ = state.stop_waiting(id),
            Input::Returned(call, outcome) => method::response(state, call, outcome),
            Input::Event(event) => exits::event(state, event),
            Input::RealShimExited => node::real_shim_exited(state),
            Input::RealShimLeft => node::real_shim_left(state),
            Input::Terminate => node::terminate(state),
            Input::Probed(heard) => probed(state, heard),
            Input::Step(done) => step_done(state, done),
            Input::StuckDied => {
                steps::stuck_died(state);
                shutdown::stuck_died(state);
            }
            Input::Deserted => {
                state.recall.deserted(state.now());
                state.arm_recall();
            }
            Input::Recalled(recalled) => {
                let forgotten = state.recall.recalled(recalled, state.now());
                state.arm_recall();
                if forgotten {
                    private::end_what_is_forgotten(state);
                }
            }
            Input::Tick => tick(state),
        }
        follow_up(state);
        if state.vacancy.look(state.tasks.is_empty(), state.now()) {
            state.arm_vacancy();
        }
        judge::arm(state);
    }

    /// The next thing to be done; `None` when all is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.state.next_output()
    }

    /// When [`Input::Tick`] is due and for which timer, unless another input comes first. Only inputs change the answer.
    pub fn poll_timeout(&self) -> Option<(Timer, Time)> {
        let next = self.state.timers.next();
        next.map(|(timer, at)| (timer, self.state.present.on_drivers_clock(at)))
    }

    /// What teardown needs of each container that has not been deleted.
    pub fn record(&self) -> Vec<Recorded> {
        let record = |(id, container): (&String, &Container)| Recorded {
            id: id.clone(),
            bundle: container.init.about().bundle.clone(),
            pid: container.init.pid(),
            exit: container.init.exit(),
        };
        self.state.tasks.containers().map(record).collect()
    }

    /// How a deleted container ended, as long as that is remembered.
    pub fn deleted_exit(&self, container: &str) -> Option<Exit> {
        self.state.exits.deleted_exit(container)
    }

    /// Whether everything of the sandbox has been released and proved so.
    pub fn is_released(&self) -> bool {
        self.state.is_released()
    }

    /// What an operator sees at `now`.
    pub fn view(&self, now: Time) -> View {
        view::of(&self.state, self.state.present.at(now))
    }

    /// What the state machine knows.
    #[cfg(test)]
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Sets what is done about silence.
    #[cfg(test)]
    pub(crate) const fn set_watchdog(&mut self, watchdog: crate::policy::Watchdog) {
        self.state.policy.watchdog = watchdog;
    }
}

fn tick(state: &mut State) {
    if !state.present.may_judge() {
        return;
    }
    for timer in Timer::ALL {
        if state.timers.has_expired(timer, state.now()) {
            expired(state, timer);
        }
    }
}

fn expired(state: &mut State, timer: Timer) {
    match timer {
        Timer::NodeShutdown => settle::leave_with_node(state),
        Timer::RealShimLeft => node::real_shim_exited(state),
        Timer::ProbeLost => {
            state.probe.lose(state.now());
            state.arm_probe_lost();
        }
        Timer::Resend => signals::resend(state),
        Timer::ReleaseLost => release::give_up_late(state),
        Timer::Probe => judge::ask(state),
        Timer::Effect => judge::effects(state),
        Timer::SentryLingers => judge::lingering(state),
        Timer::Create => teardown::judge(state),
        Timer::Watchdog => silence::judge(state),
        Timer::Step => step_is_over(state),
        Timer::Vacancy => shutdown::leave_vacant(state),
        Timer::Recall => {
            state.recall.look();
            state.arm_recall();
            state.output(Output::Recall);
        }
        Timer::Answer => judge::late_answers(state),
    }
}

fn probed(state: &mut State, heard: ProbeResult) {
    if state.is_open() && state.probe.hear(heard, state.now()) {
        state.arm_probe_lost();
        judge::effects(state);
        silence::judge(state);
    }
}

fn step_is_over(state: &mut State) {
    match state.phase() {
        Phase::Ending(_) => steps::step_is_over(state),
        Phase::Closing(_) => shutdown::step_is_over(state),
        Phase::Unkillable(..) => unkillable::try_again(state),
        Phase::Open | Phase::Gone(_) | Phase::Closed => {}
    }
}

fn step_done(state: &mut State, done: StepResult) {
    match done {
        StepResult::Unblocked { left, undecided } => unkillable::freed(state, left, undecided),
        StepResult::ReleasedOne { container, left, at_ns } => release::is_over(state, container, left, at_ns),
        done if matches!(state.phase(), Phase::Closing(_)) => shutdown::step_done(state, done),
        StepResult::CreateKilled { container, stuck } => teardown::is_over(state, container, stuck),
        done => steps::step_done(state, done),
    }
}

/// What an input has led to that reaches beyond the process that it was about; which may lead to more.
fn follow_up(state: &mut State) {
    loop {
        let FollowUps { must_end, close_if_empty } = state.take_follow_ups();
        if must_end.is_empty() && !close_if_empty {
            break;
        }
        for process in must_end {
            if state.is_open() {
                private::pursue_end(state, &process);
            }
        }
        if close_if_empty {
            shutdown::close_if_empty(state);
        }
    }
    steps::go_on_if_reported(state);
}
