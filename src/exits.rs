//! Exits: who is told of one, and that each is published exactly once.

use alloc::vec::Vec;

use crate::admit::name;
use crate::call::Kind;
use crate::exit::{Exit, REAL_SHIM_LOST_IT};
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Event, Output, ProcessId, Publication};
use crate::refusal::Refusal;
use crate::task::{Clock, Life, SIGKILL};

/// How many exits of deleted containers are remembered for their `delete`.
const REMEMBERED: usize = 16;
/// How many exits of deleted processes wait for the real shim's own event, before the guard publishes the
/// oldest itself.
const OWED: usize = 64;

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
        let open = matches!(self.phase, Phase::Open);
        let contradicts = match self.tasks.get_mut(id) {
            Some(process) => {
                if process.life == Life::Added {
                    process.life = Life::Started;
                }
                process.published
            }
            None => !open,
        };
        if !contradicts {
            self.output(Output::Publish(Publication::AsReceived));
        }
    }

    fn exit_event(&mut self, id: ProcessId, exit: Exit) {
        if self.is_lost_alive(exit) && !self.owed.contains_key(&id) {
            return self.withheld.push((id, exit));
        }
        let seen = if self.forced { exit.told_after_kill() } else { exit };
        if let Some(owed) = self.owed.remove(&id) {
            // Events come in order: this is the process that was deleted, though its name may be in use again.
            let told = if owed.guess { seen } else { owed.exit };
            self.publish_as(&id, exit, told);
            return self.answer_waiters(&id, told);
        }
        // Neither known nor owed: published before it was deleted.
        let Some(process) = self.tasks.get_mut(&id) else { return };
        if !core::mem::replace(&mut process.published, true) {
            // A status that was told already (by Wait or Delete) stays.
            let told = process.exit.unwrap_or(seen);
            self.publish_as(&id, exit, told);
            self.ended(&id, told);
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
            self.exit_event(id, exit);
        }
    }

    /// Publishes the exit event that has just come in, with the status that was told in place of its own.
    fn publish_as(&mut self, id: &ProcessId, seen: Exit, told: Exit) {
        if told.status == seen.status {
            self.output(Output::Publish(Publication::AsReceived));
        } else {
            self.publish_exit(id, told);
        }
    }

    /// The exit of a process is known: whoever waits for it is answered, whatever ran for it is over.
    pub(crate) fn ended(&mut self, id: &ProcessId, exit: Exit) {
        let Some(process) = self.tasks.get_mut(id) else { return };
        if process.exit.is_some() {
            return;
        }
        process.exit = Some(exit);
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
        let Some(process) = self.tasks.remove(id) else { return };
        if let Some(call) = process.wait_call {
            self.cancel(call);
        }
        if process.life == Life::Started && !process.published {
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
        let Some(exec) = self.tasks.remove(id) else { return };
        let guess = Exit::killed(exec.pid, container.at_ns);
        if exec.life == Life::Started && !exec.published {
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
            self.publish_exit(&id, owed.exit);
            self.answer_waiters(&id, owed.exit);
        }
    }

    /// The real shim will publish nothing any more.
    pub(crate) fn publish_owed(&mut self) {
        for (id, owed) in core::mem::take(&mut self.owed) {
            self.publish_exit(&id, owed.exit);
            self.answer_waiters(&id, owed.exit);
        }
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
            let publish = !process.published && (id.is_init() || process.life == Life::Started);
            process.published = true;
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
