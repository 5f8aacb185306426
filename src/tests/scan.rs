//! The oracle of the timers' table: every deadline is looked for anew, in all that is open.

use crate::escalation::deadlines::judged_at;
use crate::escalation::verdict::{greeting_due, question_due};
use crate::escalation::{silence, teardown};
use crate::guard::Guard;
use crate::phase::Phase;
use crate::state::State;
use crate::task::Effect;
use crate::time::Time;
use crate::timers::Timer;

impl Guard {
    /// When the first timer expires, as the state machine counts its time.
    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.state().timers.next().map(|(_, at)| at)
    }

    /// The next moment at which something is due, without the table. (Two moments stand nowhere else: the end of the
    /// guard with its node, and of the wait for a sign that the node goes down.)
    pub(crate) fn scan(&self) -> Option<Time> {
        let state = self.state();
        let answers = state.inflight.requests().filter_map(|(_, request)| request.due);
        let leaves =
            state.timers.get(Timer::NodeShutdown).filter(|_| !matches!(state.phase(), Phase::Closed));
        let unasked = state.vacancy.due().into_iter().chain(state.recall.due());
        let unasked = unasked.filter(|_| state.awaits_containerd());
        let always = answers.chain(leaves).chain(unasked);
        let phase = match state.phase() {
            Phase::Open => return always.chain(effects(state)).chain(steps(state)).min(),
            Phase::Ending(escalation) => Some(escalation.due()),
            Phase::Closing(shutdown) => shutdown.due(),
            Phase::Unkillable(_, stuck) => stuck.due(),
            Phase::Gone(_) | Phase::Closed => None,
        };
        always.chain(phase).min()
    }
}

/// When the deadlines are to be judged, and the questions asked that their judgement needs.
fn effects(state: &State) -> impl Iterator<Item = Time> {
    state.tasks.processes().flat_map(|(id, process)| {
        let deadlines = Effect::BOTH.map(|effect| {
            let deadline = process.deadlines.of(effect)?;
            let question = question_due(state, &id, effect, &deadline);
            let greeting = greeting_due(state, &id, effect, &deadline);
            let judged = judged_at(state, &id, effect, &deadline);
            judged.into_iter().chain(question).chain(greeting).min()
        });
        let lingers = process.sentry_lingers_since().map(|since| since + state.policy.kill_deadline);
        let others = [lingers, process.signals.resend_due(), process.releasing_until()];
        deadlines.into_iter().chain(others).flatten()
    })
}

/// When the Creates and the steps that are under way have to be over.
fn steps(state: &State) -> impl Iterator<Item = Time> {
    let creates = state.tasks.containers().filter_map(|(_, container)| teardown::due(state, container));
    let left = state.timers.get(Timer::RealShimLeft);
    creates.chain(state.probe.lost_at()).chain(silence::due(state)).chain(left)
}
