//! Kill: SIGKILL starts a clock that only the exit stops; any other signal is delivered once, however late,
//! unless it has become moot.

use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::{Call, Kind};
use crate::clocks::Deadline;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, CallId, Lane, Outcome, OwnCall, ProcessId, RequestId};
use crate::policy::{PENDING_SIGNAL, QUESTION, rungs};
use crate::refusal::Refusal;
use crate::task::{Clock, Life, Pending, SIGKILL};
use crate::time::Time;

/// How long the real shim may think about a signal to what has ended: it need not ask runsc.
const ENDED_PATIENCE: Duration = Duration::from_millis(500);

impl Guard {
    pub(crate) fn kill(
        &mut self,
        id: RequestId,
        process: ProcessId,
        signal: u32,
        all: bool,
        caller: Option<Duration>,
    ) {
        let fatal = signal == SIGKILL;
        let Some(known) = self.tasks.get(&process) else {
            return self.plain(id, Kind::Plain("Kill"), process, self.policy.signal_deadline, caller);
        };
        let ended = known.exit.is_some();
        match &self.phase {
            Phase::Open if ended => {
                let limit = ENDED_PATIENCE.min(self.policy.signal_deadline);
                return self.plain(id, Kind::KillEnded, process, limit, caller);
            }
            Phase::Open => {}
            Phase::Unkillable(_, stuck) => {
                let left = stuck.left.clone();
                return self.refuse(id, Refusal::Unkillable { method: "Kill", id: name(&process), left });
            }
            _ if ended => return self.refuse(id, Refusal::Finished(name(&process))),
            _ if !fatal => return self.answer_at_once(id, Answer::Done),
            _ => {
                let due = self.answer_due(rungs::TOTAL + rungs::OVERLOAD, caller);
                return self.wait_for_answer(id, Kind::Signal(signal), process, Some(due));
            }
        }
        let limit = match (fatal, known.kill) {
            (false, _) => self.policy.signal_deadline,
            (true, Some(clock)) if clock.spared => self.policy.kill_deadline,
            // Its clock answers at the deadline, or the ladder that follows.
            (true, _) => self.policy.kill_deadline + rungs::TOTAL + rungs::OVERLOAD,
        };
        let due = self.answer_due(limit, caller);
        self.wait_for_answer(id, Kind::Signal(signal), process.clone(), Some(due));
        if fatal {
            self.start_kill_clock(&process);
        }
        if let Some(call) = self.signal_to_share(&process, signal, all) {
            return call.requests.push(id);
        }
        self.forget_failed(&process, signal, all);
        let now = self.now;
        if let Some(known) = self.tasks.get_mut(&process) {
            known.may_change(now);
        }
        let call = self.forward(id, Kind::Signal(signal), process.clone(), PENDING_SIGNAL, Lane::Own);
        self.remember_signal(&process, Pending { signal, all, call, again: None });
    }

    /// The same signal on its way already: one SIGKILL is as good as two, and a signal that is pending is
    /// not made so twice.
    fn signal_to_share(&mut self, process: &ProcessId, signal: u32, all: bool) -> Option<&mut Call> {
        let same = |pending: &&Pending| {
            pending.signal == signal
                && pending.all == all
                && (signal == SIGKILL || self.is_pending(pending.call))
        };
        let call = self.tasks.get(process)?.signals.iter().find(same)?.call;
        self.calls.get_mut(&call)
    }

    fn remember_signal(&mut self, process: &ProcessId, pending: Pending) {
        if let Some(known) = self.tasks.get_mut(process) {
            known.signals.push(pending);
        }
    }

    /// SIGKILL on behalf of `delete`.
    pub(crate) fn kill_for_end(&mut self, process: &ProcessId) {
        self.start_kill_clock(process);
        let (signal, all) = (SIGKILL, true);
        if self.signal_to_share(process, signal, all).is_none() {
            let own = OwnCall::Signal { process: process.clone(), signal, all };
            let call = self.call(Kind::Signal(signal), process.clone(), own, PENDING_SIGNAL);
            self.remember_signal(process, Pending { signal, all, call, again: None });
        }
    }

    /// SIGKILL's clock, from the first one on; the signals before it are moot.
    fn start_kill_clock(&mut self, process: &ProcessId) {
        let now = self.now;
        if let Some(known) = self.tasks.get_mut(process) {
            known.kill.get_or_insert(Clock::starting(now)).ask_again(now);
        }
        self.drop_pending(process);
    }

    /// Whether nobody waits for a signal's call.
    fn is_pending(&self, call: CallId) -> bool {
        self.calls.get(&call).is_none_or(|call| call.requests.is_empty())
    }

    /// Gives up the signals that are pending: an exit, a SIGKILL or a Delete has made them moot.
    pub(crate) fn drop_pending(&mut self, process: &ProcessId) {
        let Some(known) = self.tasks.get(process) else { return };
        let moot = |pending: &&Pending| pending.signal != SIGKILL && self.is_pending(pending.call);
        let moot: Vec<CallId> = known.signals.iter().filter(moot).map(|pending| pending.call).collect();
        self.drop_signals(process, &moot);
    }

    /// Gives up every signal on its way to a process that is deleted; who waits for one has what it wanted.
    pub(crate) fn drop_all_signals(&mut self, process: &ProcessId) {
        let Some(known) = self.tasks.get(process) else { return };
        let all: Vec<CallId> = known.signals.iter().map(|pending| pending.call).collect();
        for call in &all {
            let requests = self.calls.get_mut(call).map(|call| core::mem::take(&mut call.requests));
            for request in requests.into_iter().flatten() {
                self.reply(request, Answer::Done);
            }
        }
        self.drop_signals(process, &all);
    }

    fn drop_signals(&mut self, process: &ProcessId, calls: &[CallId]) {
        if let Some(known) = self.tasks.get_mut(process) {
            known.signals.retain(|pending| !calls.contains(&pending.call));
        }
        for call in calls {
            self.cancel(*call);
        }
    }

    pub(crate) fn signal_returned(&mut self, id: CallId, call: Call, signal: u32, outcome: Outcome) {
        let gave_up = self.gave_up(&call, &outcome);
        let open = matches!(self.phase, Phase::Open);
        let known = self.tasks.get_mut(&call.process);
        let Some((process, at)) = known.and_then(|process| {
            let at = process.signals.iter().position(|pending| pending.call == id)?;
            Some((process, at))
        }) else {
            return self.relay(call.requests, &outcome);
        };
        let Pending { all, .. } = process.signals.swap_remove(at);
        let answered = outcome != Outcome::Lost && !gave_up;
        if signal == SIGKILL && answered {
            process.kill = match process.kill {
                // An exec that never started has no exit to wait for. A container has none either, but gVisor
                // has destroyed it, and who waits for its exit does so in vain: its clock sees to that.
                Some(_) if process.life == Life::Added && !call.process.is_init() => None,
                Some(clock) => {
                    let refused = matches!(outcome, Outcome::Failed { .. }).then_some(call.sent);
                    Some(Clock { acknowledged: true, refused, ..clock })
                }
                None => None,
            };
        }
        if open && gave_up && process.exit.is_none() {
            // Still owed: sent again until it is acknowledged once.
            let own = OwnCall::Signal { process: call.process.clone(), signal, all };
            let again = self.call(call.kind, call.process.clone(), own, PENDING_SIGNAL);
            if let Some(sent) = self.calls.get_mut(&again) {
                sent.requests = call.requests;
            }
            return self.remember_signal(&call.process, Pending { signal, all, call: again, again: None });
        }
        if !open && matches!(outcome, Outcome::Failed { .. }) {
            // The ladder has cut it short; it answers, too.
            return;
        }
        if signal != SIGKILL && open {
            return self.other_signal_answered(
                call,
                Pending { signal, all, call: id, again: None },
                &outcome,
            );
        }
        self.relay(call.requests, &outcome);
        self.forgive_refused(&call.process);
    }

    pub(crate) fn has_started(&mut self, process: &ProcessId) {
        let now = self.now;
        let Some(known) = self.tasks.get_mut(process) else { return };
        known.starts(now);
        let end = known.end;
        self.forgive_refused(process);
        if end && matches!(self.phase, Phase::Open) {
            self.pursue_end(process);
        }
    }

    /// A SIGKILL that was refused before the start says nothing of what runs since. (Before 2026-08 gVisor refuses it
    /// for a container that was created and not started.) What `delete` wants it is sent again for.
    fn forgive_refused(&mut self, process: &ProcessId) {
        let Some(known) = self.tasks.get_mut(process).filter(|known| known.refused_before_start()) else {
            return;
        };
        known.kill = None;
        if known.end && matches!(self.phase, Phase::Open) {
            self.kill_for_end(process);
        }
    }

    /// An error is passed on, unless there was nothing else for longer than a signal may take: to CRI it would mean
    /// for ever that no SIGKILL may follow. Then the signal is pending, and sent again after a while.
    fn other_signal_answered(&mut self, call: Call, pending: Pending, outcome: &Outcome) {
        let (now, limit) = (self.now, self.policy.signal_deadline);
        let known = self.tasks.get_mut(&call.process).filter(|process| process.exit.is_none());
        let Some(process) = known else { return self.relay(call.requests, outcome) };
        match outcome {
            Outcome::Failed { not_found: false } => {
                let since = *process.refused.get_or_insert(call.sent);
                let resent = call.requests.is_empty();
                if now < since + limit && !resent {
                    return self.relay(call.requests, outcome);
                }
                process.signals.push(Pending { again: Some(now + PENDING_SIGNAL), ..pending });
                for request in call.requests {
                    self.reply(request, Answer::Done);
                }
            }
            _ => {
                process.refused = None;
                self.relay(call.requests, outcome);
            }
        }
    }

    /// A signal that was answered with an error is sent again by whoever asks for it again.
    fn forget_failed(&mut self, process: &ProcessId, signal: u32, all: bool) {
        if let Some(known) = self.tasks.get_mut(process) {
            let same = |one: &Pending| one.signal == signal && one.all == all && one.again.is_some();
            known.signals.retain(|one| !same(one));
        }
    }

    /// Sends what was answered with errors once more.
    pub(crate) fn send_again(&mut self) {
        for id in self.tasks.ids() {
            self.send_again_if_due(&id);
        }
    }

    fn send_again_if_due(&mut self, id: &ProcessId) {
        let now = self.now;
        let Some(process) = self.tasks.get_mut(id) else { return };
        let due = |pending: &mut Pending| pending.again.is_some_and(|again| again <= now);
        let due: Vec<Pending> = process.signals.extract_if(.., due).collect();
        for Pending { signal, all, .. } in due {
            let own = OwnCall::Signal { process: id.clone(), signal, all };
            let call = self.call(Kind::Signal(signal), id.clone(), own, PENDING_SIGNAL);
            self.remember_signal(id, Pending { signal, all, call, again: None });
        }
    }

    /// A SIGKILL that is not acknowledged may wait behind a lock of the real shim's. Whether that answers anything at
    /// all shows a request that takes none.
    pub(crate) fn greet_if_due(&mut self, id: &ProcessId, which: Deadline, clock: &Clock) {
        if self.greeting_due(id, which, clock).is_none_or(|due| due > self.now) {
            return;
        }
        let container = ProcessId::init(&id.container);
        let own = OwnCall::Greet(id.container.clone());
        let call = self.call(Kind::Greeting, container, own, QUESTION);
        let now = self.now;
        if let Some(task) = self.tasks.0.get_mut(&id.container) {
            task.greeting = Some((call, now));
        }
    }

    /// When that is to be asked: with the sentry, and again where nothing was heard since.
    pub(crate) fn greeting_due(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let task = self.tasks.0.get(&id.container)?;
        let unheard = which == Deadline::Kill && !clock.acknowledged && self.stake(id, which).needs_verdict();
        let from = self.asked_from(which, clock);
        (unheard && task.greeting.is_none() && task.spoke < from).then_some(from)
    }

    /// When the real shim will have answered nothing at all about a container for as long as a SIGKILL may take.
    pub(crate) fn mute_at(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let task = self.tasks.0.get(&id.container)?;
        let unheard = which == Deadline::Kill && !clock.acknowledged;
        let (_, greeted) = task.greeting.filter(|_| unheard)?;
        Some((clock.since.max(task.spoke) + self.policy.kill_deadline).max(greeted + QUESTION))
    }

    /// The real shim has answered something. A lost connection is no answer.
    pub(crate) fn has_spoken(&mut self, id: CallId, call: &Call, outcome: &Outcome) {
        let now = self.now;
        let Some(task) = self.tasks.0.get_mut(&call.process.container) else { return };
        if *outcome == Outcome::Lost {
            return;
        }
        task.spoke = now;
        if task.greeting.is_some_and(|(greeting, _)| greeting == id) {
            task.greeting = None;
        }
    }
}
