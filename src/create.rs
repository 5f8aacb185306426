//! Create: what it began is torn down when it hangs, and only that.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::{Call, Kind};
use crate::guard::{Guard, Phase, WIRE_SLACK};
use crate::io::{About, Answer, Lane, Note, Outcome, Output, ProcessId, RequestId, Rung, Told};
use crate::policy::rungs;
use crate::refusal::Refusal;
use crate::task::{Life, Task};
use crate::time::Time;

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
        self.tasks.0.insert(container, Task::new(self.next_call, about, self.now));
        // At its deadline the teardown answers, and says where it hung.
        let due = self.answer_due(limit + rungs::TOTAL * 2, caller);
        let timeout = caller.map_or(limit, |caller| caller.min(limit)) + WIRE_SLACK;
        self.wait_for_answer(id, Kind::Create, process.clone(), Some(due));
        self.forward(id, Kind::Create, process, timeout, Lane::Control);
        self.output(Output::Save);
    }

    pub(crate) fn create_returned(&mut self, call: Call, outcome: Outcome) {
        let Some(task) = self.tasks.0.get_mut(&call.process.container) else { return };
        if task.torn_down || outcome == Outcome::Lost {
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
            && !task.torn_down
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

    /// Another container's Create is over: what waited behind it has its own time again.
    fn create_is_over(&mut self, created: &ProcessId, began: Time) {
        let now = self.now;
        let others = self.tasks.0.iter_mut().filter(|(container, _)| **container != created.container);
        for (_, task) in others {
            for process in core::iter::once(&mut task.init).chain(task.execs.values_mut()) {
                for clock in [&mut process.kill, &mut process.delete].into_iter().flatten() {
                    let behind = now - clock.since.max(began);
                    clock.since = clock.since + behind;
                }
            }
        }
    }

    pub(crate) fn check_creates(&mut self) {
        let limit = self.policy.create_deadline;
        let stuck = |task: &Task| task.creating.is_some_and(|since| since + limit <= self.now);
        let stuck = self.tasks.0.iter().filter(|(_, task)| stuck(task));
        let stuck: Vec<String> = stuck.map(|(container, _)| container.clone()).collect();
        for container in stuck {
            self.tear_down_create(&container);
        }
    }

    /// Kills what a Create began; the ladder follows where that is the whole sandbox.
    pub(crate) fn tear_down_create(&mut self, container: &str) {
        let Some(task) = self.tasks.0.get_mut(container) else { return };
        if !core::mem::replace(&mut task.torn_down, true) {
            self.rung(Rung::KillCreate(container.into()), rungs::KILL_SANDBOX);
        }
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
        self.create_is_over(&process, began);
        self.settle_one(&process);
        self.never_came_to_be(&process);
        self.output(Output::Save);
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
