//! Create: what it began is torn down when it hangs, and only that.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::{Call, Kind};
use crate::guard::{Guard, Phase, WIRE_SLACK};
use crate::io::{About, Answer, CallId, Lane, Note, Outcome, Output, ProcessId, RequestId, Rung, Told};
use crate::policy::{HOME, rungs};
use crate::refusal::Refusal;
use crate::task::{Clock, Life, Task, Teardown};

impl Guard {
    pub(crate) fn create(
        &mut self,
        id: RequestId,
        container: String,
        about: About,
        caller: Option<Duration>,
    ) {
        let process = ProcessId::init(&container);
        let limit = self.policy.create_deadline;
        if let Some(refusal) = self.closed_to(Kind::Create, &process) {
            return self.refuse(id, refusal);
        }
        if let Some((true, Some(exit))) = self.tasks.get(&process).map(|known| (known.deleted, known.exit)) {
            self.forget(&process, exit);
        }
        if self.tasks.get(&process).is_some() {
            // A second Create of a living id is the real shim's to judge.
            return self.plain(id, Kind::Plain("Create"), process, limit, caller);
        }
        self.reserved.remove(&container);
        self.listen_to(&process);
        self.forget_released(&process);
        self.tasks.0.insert(container, Task::new(self.next_call, about, self.now));
        // At its deadline the teardown answers, and says where it hung.
        let due = self.answer_due(limit + rungs::TOTAL * 2, caller);
        let timeout = caller.map_or(limit, |caller| caller.min(limit)) + WIRE_SLACK;
        self.wait_for_answer(id, Kind::Create, process.clone(), Some(due));
        // By a connection of its own, so that giving it up makes the real shim give it up.
        self.forward(id, Kind::Create, process, timeout, Lane::Own);
        self.output(Output::Save);
    }

    pub(crate) fn create_returned(&mut self, call: Call, outcome: Outcome) {
        let Some(task) = self.tasks.0.get_mut(&call.process.container) else { return };
        if matches!(task.teardown, Teardown::Until(_)) || outcome == Outcome::Lost {
            // Its answer waits for the teardown, which says where it hung; what became of a Create whose
            // connection is lost is not known, so its deadline stays.
            return;
        }
        let began = task.creating.take();
        if let Outcome::Done(told) = &outcome {
            task.init.life = Life::Added;
            if let Told::Pid(pid) = told {
                task.init.pid = *pid;
            }
        }
        self.relay(call.requests, &outcome);
        if let Some(began) = began {
            self.create_is_over(&call.process, began);
        }
        if let Outcome::Failed { .. } = outcome {
            self.never_came_to_be(&call.process);
        }
        self.output(Output::Save);
    }

    /// What starts in a container proves that its Create succeeded, though the answer may be lost.
    pub(crate) fn create_is_proven(&mut self, container: &str) {
        if let Some(task) = self.tasks.0.get_mut(container)
            && task.init.life == Life::Adding
            && task.teardown == Teardown::None
        {
            task.creating = None;
            task.init.life = Life::Added;
        }
    }

    /// Forgets a process whose Create or Exec came to nothing; who waited for it learns that.
    pub(crate) fn never_came_to_be(&mut self, process: &ProcessId) {
        let gone = self.remove(process);
        for kind in [Kind::Wait, Kind::End] {
            for id in self.requests_for(process, kind) {
                self.reply(id, Answer::Refused(Refusal::NotFound(name(process))));
            }
        }
        if gone.is_some_and(|gone| gone.end) {
            self.close_if_empty();
        }
    }

    pub(crate) fn check_creates(&mut self) {
        let limit = self.policy.create_deadline;
        let containers: Vec<String> = self.tasks.0.keys().cloned().collect();
        for container in containers {
            match self.tasks.0.get(&container).map(|task| (task.teardown, task.creating)) {
                Some((Teardown::None, Some(began))) if began + limit <= self.now => {
                    self.tear_down_create(&container);
                }
                Some((Teardown::Until(limit), _)) if limit <= self.now => self.lose_teardown(&container),
                _ => {}
            }
        }
    }

    /// Kills what a Create began; the ladder follows where that is the whole sandbox.
    pub(crate) fn tear_down_create(&mut self, container: &str) {
        let limit = self.now + rungs::KILL_SANDBOX + rungs::OVERLOAD + HOME;
        let Some(task) = self.tasks.0.get_mut(container) else { return };
        if task.teardown == Teardown::None {
            task.teardown = Teardown::Until(limit);
            self.rung(Rung::KillCreate(container.into()), rungs::KILL_SANDBOX);
        }
    }

    /// Its teardown has not come back. Who waits for the Create is told; what it began was to die, so that a SIGKILL's
    /// clock runs for it.
    fn lose_teardown(&mut self, container: &str) {
        let stuck = "its teardown did not come back, so what it began may still be there";
        if container == self.sandbox {
            return self.create_killed(container.into(), stuck.into());
        }
        let now = self.now;
        let Some(task) = self.tasks.0.get_mut(container) else { return };
        task.teardown = Teardown::Lost;
        let clock = Clock { acknowledged: true, ..Clock::starting(now) };
        task.init.kill.get_or_insert(clock);
        self.note(Note::CreateStuck { container: container.into(), stuck: stuck.into() });
        self.refuse_create(&ProcessId::init(container), stuck);
    }

    pub(crate) fn create_killed(&mut self, container: String, stuck: String) {
        let process = ProcessId::init(&container);
        let began = self.tasks.0.get(&container).and_then(|task| task.creating);
        self.note(Note::CreateStuck { container: container.clone(), stuck: stuck.clone() });
        let (Phase::Open, Some(began)) = (&self.phase, began) else { return };
        if self.is_root(&process) {
            return self.escalate_create(container, stuck, began);
        }
        self.refuse_create(&process, &stuck);
        self.give_up_create(&process);
        self.create_is_over(&process, began);
        self.settle_one(&process);
        self.never_came_to_be(&process);
        self.output(Output::Save);
    }

    /// What it began is dead, and yet the real shim may wait on, with its one lock: for the other end of a FIFO whose
    /// reader, a containerd that was killed, is gone (30 s; gVisor pkg/shim/v1/proc/init.go).
    fn give_up_create(&mut self, process: &ProcessId) {
        let of_it = |(_, call): &(&CallId, &Call)| call.kind == Kind::Create && call.process == *process;
        if let Some(call) = self.calls.iter().find(of_it).map(|(id, _)| *id) {
            self.cancel(call);
        }
    }

    pub(crate) fn refuse_create(&mut self, process: &ProcessId, stuck: &str) {
        for request in self.requests_for(process, Kind::Create) {
            let waited =
                self.waiting.get(&request).map_or(Duration::ZERO, |waiting| self.now - waiting.since);
            let refusal = Refusal::CreateStuck { id: name(process), waited, stuck: stuck.into() };
            self.reply(request, Answer::Refused(refusal));
        }
    }
}
