//! Exits: who is told of one, and that the guard publishes each exactly once (rule 3).
//!
//! What the real shim publishes goes on as it comes, also in an order that is odd, or twice (rule 2): the start of a
//! short exec after its exit is one of its own making. Only an exit that the *guard* has published is the last word.

use alloc::vec::Vec;

use crate::admit::name;
use crate::call::Kind;
use crate::exit::{Exit, REAL_SHIM_LOST_IT};
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Event, Output, ProcessId, Publication};
use crate::refusal::Refusal;
use crate::task::{Clock, Life, Process, SIGKILL, Voice};

/// How many exits of deleted containers are remembered for their `delete`.
const REMEMBERED: usize = 16;
/// How many exits of deleted processes wait for the real shim's own event, before the guard publishes the
/// oldest itself.
const OWED: usize = 64;

/// How many deleted processes are remembered whose exit the guard has published: what the real shim still says of
/// them is on its way already, if it says anything.
const SILENCED: usize = 64;

/// The exit of a process that was deleted before the real shim published it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) exit: Exit,
    /// Nobody has been told this exit yet: the real shim's own word for it goes first.
    pub(crate) guess: bool,
}

impl Guard {
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Exit(id, exit) => self.exit_event(id, exit),
            Event::Alive(id) => self.alive_event(&id),
            Event::Other => self.output(Output::Publish(Publication::AsReceived)),
        }
    }

    fn alive_event(&mut self, id: &ProcessId) {
        if self.tasks.get(id).is_some_and(|process| process.life == Life::Added) {
            self.has_started(id);
        }
        if !self.is_silenced(id) {
            self.output(Output::Publish(Publication::AsReceived));
        }
    }

    /// Whether the guard has had the last word on a process.
    fn is_silenced(&self, id: &ProcessId) -> bool {
        match self.tasks.get(id) {
            Some(process) => process.published == Some(Voice::Guards),
            None => self.silenced.contains(id),
        }
    }

    fn exit_event(&mut self, id: ProcessId, exit: Exit) {
        let seen = if self.forced { exit.told_after_kill() } else { exit };
        if let Some(owed) = self.owed.remove(&id) {
            // Events come in order: this is the process that was deleted, though its name may be in use again.
            let told = if owed.guess { seen } else { owed.exit };
            let voice = self.publish_as(&id, exit, told);
            self.remember_voice(&id, voice);
            return self.answer_waiters(&id, told);
        }
        if self.is_silenced(&id) {
            return;
        }
        let Some(process) = self.tasks.get(&id).filter(|process| process.published.is_none()) else {
            // Said before, or of what is deleted.
            return self.output(Output::Publish(Publication::AsReceived));
        };
        // A status that was told already (by Wait or Delete) stays.
        let told = process.exit.unwrap_or(seen);
        if self.is_lost_alive(exit) {
            return self.withheld.push((id, exit));
        }
        let voice = self.publish_as(&id, exit, told);
        self.is_published(&id, voice);
        self.ended(&id, told);
    }

    fn is_published(&mut self, id: &ProcessId, voice: Voice) {
        if let Some(process) = self.tasks.get_mut(id) {
            process.published.get_or_insert(voice);
        }
    }

    /// The real shim has lost a process to our SIGKILL that may not be dead: a thread in state D keeps the sandbox
    /// alive, though nothing in it answers any more. That is no exit yet.
    pub(crate) fn is_lost_alive(&self, exit: Exit) -> bool {
        let ended = match &self.phase {
            Phase::Ending(ladder) => ladder.has_ended(),
            Phase::Unkillable(..) => false,
            _ => true,
        };
        self.forced && !ended && exit.status == REAL_SHIM_LOST_IT
    }

    /// The sandbox is dead: what the real shim said of it was so.
    pub(crate) fn tell_withheld(&mut self) {
        for (id, exit) in core::mem::take(&mut self.withheld) {
            let Some(process) = self.tasks.get(&id).filter(|process| process.published.is_none()) else {
                continue;
            };
            let told = process.exit.unwrap_or(exit.told_after_kill());
            self.publish_exit(&id, told);
            self.is_published(&id, Voice::Guards);
            self.ended(&id, told);
        }
    }

    /// Publishes the exit event that has just come in; after a kill of the guard's with the status that was told, where
    /// that is another.
    fn publish_as(&mut self, id: &ProcessId, seen: Exit, told: Exit) -> Voice {
        if !self.forced || told.status == seen.status {
            self.output(Output::Publish(Publication::AsReceived));
            return Voice::RealShims;
        }
        self.publish_exit(id, told);
        Voice::Guards
    }

    /// The exit of a process is known: whoever waits for it is answered, whatever ran for it is over.
    pub(crate) fn ended(&mut self, id: &ProcessId, exit: Exit) {
        let now = self.now;
        let Some(process) = self.tasks.get_mut(id) else { return };
        if process.exit.is_some() {
            return;
        }
        (process.exit, process.exited) = (Some(exit), Some(now));
        process.kill = None;
        process.lingers = None;
        let end = process.end;
        self.answer_waiters(id, exit);
        self.drop_pending(id);
        self.hasten_kills(id);
        if self.is_root(id) {
            self.members_are_due();
        }
        if end && matches!(self.phase, Phase::Open) {
            self.pursue_end(id);
        }
        self.output(Output::Save);
        self.exit_seen_by_ladder();
    }

    /// The root's exit is known when its sandbox is gone: the members' must follow, and whatever is asked of
    /// them now asks in vain.
    fn members_are_due(&mut self) {
        let clock = Clock { acknowledged: true, ..Clock::starting(self.now) };
        let members = self.tasks.0.values_mut().map(|task| &mut task.init);
        for member in members.filter(|member| member.exit.is_none()) {
            member.kill.get_or_insert(clock);
        }
    }

    pub(crate) fn answer_waiters(&mut self, id: &ProcessId, exit: Exit) {
        for waiter in self.requests_for(id, Kind::Wait) {
            self.reply(waiter, Answer::Waited(exit));
        }
    }

    /// A SIGKILL whose effect is there is answered by the real shim in a moment, or by the guard soon after.
    fn hasten_kills(&mut self, id: &ProcessId) {
        let due = self.now + self.policy.signal_deadline;
        let kills = self
            .waiting
            .values_mut()
            .filter(|waiting| waiting.process == *id && waiting.kind == Kind::Signal(SIGKILL));
        for waiting in kills {
            waiting.due = waiting.due.map(|old| old.min(due));
        }
        self.arm_answers();
    }

    /// A process is deleted, and with a container its execs: only the exit is remembered, and whether that
    /// was ever published.
    pub(crate) fn forget(&mut self, id: &ProcessId, exit: Exit) {
        self.remember_deleted(id, exit);
        for exec in self.tasks.execs_of(id) {
            self.forget_exec_of_deleted(&exec, exit);
        }
        self.answer_waiters(id, exit);
        self.drop_all_signals(id);
        let Some(process) = self.remove(id) else { return };
        if process.released {
            self.remember_released(id);
        }
        if let Some(call) = process.wait_call {
            self.cancel(call);
        }
        if process.life == Life::Started && process.published.is_none() {
            self.owe(id, Owed { exit, guess: false });
        }
        for request in self.requests_for(id, Kind::End) {
            self.reply(request, Answer::Deleted(exit));
        }
        if process.end {
            self.close_if_empty();
        }
    }

    /// An exec may outlast its container's Delete by a moment: the real shim still answers its Wait and
    /// publishes its exit.
    fn forget_exec_of_deleted(&mut self, id: &ProcessId, container: Exit) {
        self.drop_all_signals(id);
        let Some(exec) = self.remove(id) else { return };
        let guess = Exit::killed(exec.pid, container.at_ns);
        if exec.life == Life::Started && exec.published.is_none() {
            self.owe(id, Owed { exit: exec.exit.unwrap_or(guess), guess: exec.exit.is_none() });
        }
        let waiters = self.requests_for(id, Kind::Wait);
        if let Some(call) = exec.wait_call.and_then(|call| self.calls.get_mut(&call)) {
            call.requests = waiters;
        } else {
            for waiter in waiters {
                self.reply(waiter, Answer::Refused(Refusal::NotFound(name(id))));
            }
        }
    }

    fn owe(&mut self, id: &ProcessId, owed: Owed) {
        self.owed.insert(id.clone(), owed);
        if self.owed.len() > OWED
            && let Some((id, owed)) = self.owed.pop_first()
        {
            self.pay(&id, owed);
        }
    }

    fn pay(&mut self, id: &ProcessId, owed: Owed) {
        self.publish_exit(id, owed.exit);
        self.remember_voice(id, Voice::Guards);
        self.answer_waiters(id, owed.exit);
    }

    /// The real shim will publish nothing any more.
    pub(crate) fn publish_owed(&mut self) {
        for (id, owed) in core::mem::take(&mut self.owed) {
            self.pay(&id, owed);
        }
    }

    /// Removes a process and, with a container, its execs.
    pub(crate) fn remove(&mut self, id: &ProcessId) -> Option<Process> {
        for exec in self.tasks.execs_of(id) {
            self.remove(&exec);
        }
        let removed = self.tasks.remove(id)?;
        if let Some(voice) = removed.published {
            self.remember_voice(id, voice);
        }
        Some(removed)
    }

    /// A new process has this name: what the real shim says is about that one.
    pub(crate) fn listen_to(&mut self, id: &ProcessId) {
        self.silenced.retain(|silenced| silenced != id);
    }

    /// Remembers of a deleted process who has had the last word on it.
    fn remember_voice(&mut self, id: &ProcessId, voice: Voice) {
        if voice == Voice::RealShims || self.silenced.contains(id) {
            return;
        }
        if self.silenced.len() == SILENCED {
            self.silenced.pop_front();
        }
        self.silenced.push_back(id.clone());
    }

    /// Everything is dead: each process that was created and has no exit has one now, published once.
    pub(crate) fn establish_exits(&mut self, at_ns: u64) {
        self.tell_withheld();
        for id in self.tasks.ids() {
            let Some(process) = self.tasks.get_mut(&id) else { continue };
            if process.life == Life::Adding {
                continue;
            }
            let exit = process.exit.unwrap_or(Exit::killed(process.pid, at_ns));
            let publish = process.published.is_none() && (id.is_init() || process.life == Life::Started);
            process.published.get_or_insert(Voice::Guards);
            if publish {
                self.publish_exit(&id, exit);
            }
            self.ended(&id, exit);
        }
        self.publish_owed();
        let kills = self.waiting.iter().filter(|(_, waiting)| waiting.kind == Kind::Signal(SIGKILL));
        let kills: Vec<_> = kills.map(|(request, _)| *request).collect();
        for request in kills {
            self.reply(request, Answer::Done);
        }
    }

    /// Publishes an exit that the real shim never will, or not with the status that was told.
    fn publish_exit(&mut self, id: &ProcessId, exit: Exit) {
        self.output(Output::Publish(Publication::Exit(id.clone(), exit)));
    }

    /// Remembers how a deleted container ended, for the `delete` that follows.
    pub(crate) fn remember_deleted(&mut self, id: &ProcessId, exit: Exit) {
        if !id.is_init() {
            return;
        }
        self.deleted.retain(|(known, _)| *known != id.container);
        if self.deleted.len() == REMEMBERED {
            self.deleted.pop_front();
        }
        self.deleted.push_back((id.container.clone(), exit));
    }

    /// How a deleted container ended, as long as that is remembered.
    pub fn deleted_exit(&self, container: &str) -> Option<Exit> {
        self.deleted.iter().find(|(id, _)| id == container).map(|(_, exit)| *exit)
    }
}
