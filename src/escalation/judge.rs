//! Judges the deadlines that have passed, and arms the timers of those that run.

use alloc::string::ToString;

use crate::answers;
use crate::error::GuardError;
use crate::escalation::cost::{Cost, is_being_created};
use crate::escalation::deadlines::{hard_end, judged_at};
use crate::escalation::verdict::{
    Verdict, ask_if_due, greeting_due, question_due, real_shim_silent_at, verdict,
};
use crate::escalation::{release, silence, steps, teardown};
use crate::inflight::{Kind, PendingRequest};
use crate::io::{Answer, Cause, ProcessId, RequestId};
use crate::signals;
use crate::state::State;
use crate::task::{Deadline, Effect, Process, SIGKILL};
use crate::time::Time;
use crate::timers::{Timer, Timers};

/// Arms what depends on several containers at once: who would pay, who holds a lock, what the sentry has said.
pub(crate) fn arm(state: &mut State) {
    if !state.is_open() {
        return;
    }
    let mut timers = Timers::default();
    for (id, container) in state.tasks.containers() {
        timers.set_earlier(Timer::Create, teardown::due(state, container));
        for (exec, process) in container.processes() {
            arm_for(state, id, exec, process, &mut timers);
        }
    }
    timers.set_earlier(Timer::Watchdog, silence::due(state));
    for timer in Timer::ARMED_IN_ONE_PASS {
        state.timers.set(timer, timers.get(timer));
    }
}

fn arm_for(state: &State, container: &str, exec: &str, process: &Process, timers: &mut Timers) {
    timers.set_earlier(Timer::Resend, process.signals.resend_due());
    timers.set_earlier(Timer::ReleaseLost, process.releasing_until());
    timers.set_earlier(Timer::SentryLingers, lingering_ends(state, process));
    if !process.deadlines.run() {
        return;
    }
    let id = ProcessId { container: container.into(), exec: exec.into() };
    for effect in Effect::BOTH {
        let Some(deadline) = process.deadlines.of(effect) else { continue };
        timers.set_earlier(Timer::Effect, judged_at(state, &id, effect, &deadline));
        timers.set_earlier(Timer::Probe, question_due(state, &id, effect, &deadline));
        timers.set_earlier(Timer::Probe, greeting_due(state, &id, effect, &deadline));
    }
}

/// Every deadline that runs, as long as the sandbox is in service.
fn for_each(state: &mut State, what: impl Fn(&mut State, &ProcessId, Effect, Deadline)) {
    for id in state.tasks.ids() {
        for effect in Effect::BOTH {
            let deadline = state.tasks.get(&id).and_then(|process| process.deadlines.of(effect));
            if let Some(deadline) = deadline.filter(|_| state.is_open()) {
                what(state, &id, effect, deadline);
            }
        }
    }
}

/// Asks the sentry on behalf of those deadlines for which that is due.
pub(crate) fn ask(state: &mut State) {
    for_each(state, |state, id, effect, deadline| ask_if_due(state, id, effect, &deadline));
}

/// Judges each deadline that has passed.
pub(crate) fn effects(state: &mut State) {
    if !state.present.may_judge() {
        return;
    }
    for_each(state, |state, id, effect, deadline| {
        ask_if_due(state, id, effect, &deadline);
        if judged_at(state, id, effect, &deadline).is_some_and(|due| due <= state.now()) {
            one(state, id, effect, deadline);
        }
    });
}

/// A deadline has passed.
fn one(state: &mut State, id: &ProcessId, effect: Effect, deadline: Deadline) {
    if is_being_created(state, id) {
        return teardown::begin(state, &id.container);
    }
    let cost = Cost::of(state, id, effect);
    if cost == Cost::Itself {
        return match effect {
            Effect::Exit => has_no_exit(state, id),
            Effect::Deletion => release::begin(state, id),
        };
    }
    let over = |due: Option<Time>| due.is_some_and(|due| due <= state.now());
    let is_wedged = !cost.needs_verdict()
        || verdict(state, id, effect, &deadline) == Verdict::Silent
        || over(real_shim_silent_at(state, id, effect, &deadline))
        || over(hard_end(state, id, effect, &deadline));
    if !is_wedged {
        return spare(state, id, effect);
    }
    let (process, acknowledged) = (id.clone(), deadline.is_acknowledged());
    let why = match effect {
        Effect::Exit => Cause::KillWithoutExit { process, acknowledged },
        Effect::Deletion => Cause::DeleteStuck(process),
    };
    steps::begin(state, why, deadline.since());
}

/// No exit will come of this process: nobody needs to wait for one, nor for a SIGKILL.
fn has_no_exit(state: &mut State, id: &ProcessId) {
    if let Some(process) = state.tasks.get_mut(id) {
        process.deadlines.stop(Effect::Exit);
    }
    let unknown = Answer::Error(GuardError::NotFound(id.to_string()));
    for kind in [Kind::Wait, Kind::Kill(SIGKILL)] {
        state.reply_all(state.inflight.requests_for(id, kind), &unknown);
    }
}

/// The sandbox is left alone until `hard_limit`; who waits learns when that is.
fn spare(state: &mut State, id: &ProcessId, effect: Effect) {
    let Some(process) = state.tasks.get_mut(id) else { return };
    process.deadlines.spare(effect);
    let kind = match effect {
        Effect::Exit => Kind::Kill(SIGKILL),
        Effect::Deletion => Kind::Delete,
    };
    for kind in [kind, Kind::End] {
        let wanted = |request: &PendingRequest| request.kind == kind && request.process == *id;
        state.reply_each(wanted, |state, request| answers::pending(state, kind, id, request.since));
    }
}

fn lingering_ends(state: &State, process: &Process) -> Option<Time> {
    process.sentry_lingers_since().map(|since| since + state.policy.kill_deadline)
}

/// The root container has ended, its sentry has not.
pub(crate) fn lingering(state: &mut State) {
    let lingers = state.tasks.processes().filter_map(|(_, process)| process.sentry_lingers_since());
    if let Some(since) = lingers.min() {
        steps::begin(state, Cause::SentryLingers, since);
    }
}

/// Answers are due although the real shim has not given them.
pub(crate) fn late_answers(state: &mut State) {
    let now = state.now();
    for id in state.inflight.requests_where(|request| request.due.is_some_and(|due| due <= now)) {
        late_answer(state, id);
    }
}

fn late_answer(state: &mut State, id: RequestId) {
    let Some(request) = state.inflight.request(id) else { return };
    let (kind, process, since) = (request.kind, request.process.clone(), request.since);
    silence::suspect_if_late(state, kind, &process, since);
    let answer = answers::late(state, kind, &process, since);
    state.reply(id, answer);
    let over = |process: &Process| process.deadlines.run() || process.has_ended();
    if matches!(kind, Kind::Kill(_)) && state.tasks.get(&process).is_some_and(over) {
        signals::drop_pending(state, &process);
    }
}
