//! The way out: when the last container is deleted, the real shim is told to go, what is left is released,
//! and the guard ends.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::call::Kind;
use crate::exit::Exit;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Note, Outcome, Output, OwnCall, ProcessId, RequestId, Rung, RungDone};
use crate::policy::{HOME, VACANT_FOR, rungs};
use crate::refusal::Refusal;
use crate::task::Task;
use crate::time::Time;
use crate::timers::Timer;
use crate::unkillable::{Killing, Stuck, kill_lost};

/// How far the guard is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The real shim was asked to go.
    Asked,
    /// What lives on is killed.
    Killing,
    /// What is left is released.
    Releasing,
    /// It is released for longer than anybody waits: who asked is answered, but what works on it works in this
    /// process.
    Overtime,
}

/// The guard on its way out.
#[derive(Debug)]
pub(crate) struct Closing {
    began: Time,
    step: Step,
    /// When the step's budget is spent, or it will not come back.
    due: Option<Time>,
    /// What cannot be killed.
    pub(crate) stuck: Option<Stuck>,
}

impl Closing {
    pub(crate) fn due(&self) -> Option<Time> {
        self.due.or(self.stuck.as_ref().and_then(Stuck::due))
    }
}

impl Guard {
    pub(crate) fn shutdown(&mut self, id: RequestId, caller: Option<Duration>) {
        if let Some(stuck) = self.stuck() {
            let refusal = self.cannot_shut_down(stuck.left.clone());
            return self.refuse(id, refusal);
        }
        self.forget_unclaimed();
        let needed = !self.tasks.0.is_empty() || !self.reserved.is_empty();
        if needed || matches!(self.phase, Phase::Closed) {
            // The real shim would answer an error here ("marshal called with nil"), and containerd 2.4 takes
            // that for a failed delete. Nothing has to happen until the last container is gone.
            self.answer_at_once(id, Answer::Done);
            return self.close_if_empty();
        }
        let due = Some(self.answer_due(self.policy.shutdown_deadline, caller));
        self.wait_for_answer(id, Kind::Shutdown, ProcessId::init(""), due);
        self.close_if_empty();
    }

    fn cannot_shut_down(&self, left: Vec<String>) -> Refusal {
        Refusal::Unkillable { method: "Shutdown", id: self.sandbox.clone(), left }
    }

    /// The guard goes with the last container: after a Shutdown, or a private End, which no Shutdown follows.
    pub(crate) fn close_if_empty(&mut self) {
        if !self.reserved.is_empty() {
            return;
        }
        self.forget_unclaimed();
        if !self.tasks.0.is_empty() {
            return self.pursue_ends();
        }
        match &self.phase {
            Phase::Open => {
                self.output(Output::StopListening);
                self.close_step(Step::Asked);
            }
            Phase::Gone(left) => {
                let released = left.is_empty();
                self.output(Output::StopListening);
                if released { self.finish() } else { self.close_step(Step::Killing) }
            }
            _ => {}
        }
    }

    /// The root is deleted, and what else was deleted while nobody heard of it nobody asks for any more: containerd ends
    /// the root last. (One that was killed meanwhile and could not run `delete`, in a bundle that is gone, does not.)
    fn forget_unclaimed(&mut self) {
        if self.tasks.0.contains_key(&self.sandbox) {
            return;
        }
        let unclaimed = |(id, task): (&String, &Task)| {
            Some((ProcessId::init(id), task.init.exit.filter(|_| task.init.deleted)?))
        };
        let unclaimed: Vec<(ProcessId, Exit)> = self.tasks.0.iter().filter_map(unclaimed).collect();
        for (id, exit) in unclaimed {
            self.forget(&id, exit);
            self.output(Output::Save);
        }
    }

    /// Takes note whether there is a container.
    pub(crate) fn look_for_vacancy(&mut self) {
        let vacant = self.tasks.0.is_empty();
        if vacant != self.vacant.is_some() {
            self.vacant = vacant.then_some(self.now);
            self.timers.set(Timer::Vacancy, self.vacancy_due());
        }
    }

    /// When a guard without a container leaves although no Shutdown has come.
    pub(crate) fn vacancy_due(&self) -> Option<Time> {
        let stays = matches!(self.phase, Phase::Open | Phase::Gone(_));
        self.vacant.filter(|_| stays).map(|since| since + VACANT_FOR)
    }

    /// A containerd that died between `start` and Create, or between Delete and Shutdown, may never come back to it:
    /// before 1.7 it asks nothing of a shim whose task it does not find.
    pub(crate) fn leave_if_vacant(&mut self) {
        if self.vacancy_due().is_some_and(|due| due <= self.now) {
            self.reserved.clear();
            self.close_if_empty();
        }
    }

    /// Where `delete` has asked for the end of every container that is left, nobody else will ask again.
    fn pursue_ends(&mut self) {
        let open = matches!(self.phase, Phase::Open);
        if open && self.tasks.0.values().all(|task| task.init.end) {
            let containers: Vec<String> = self.tasks.0.keys().cloned().collect();
            for container in containers {
                self.pursue_end(&ProcessId::init(&container));
            }
        }
    }

    /// What kept the guard from closing is dead.
    pub(crate) fn closing_remnants_died(&mut self) {
        if matches!(&self.phase, Phase::Closing(closing) if closing.step == Step::Killing) {
            self.close_step(Step::Killing);
        }
    }

    fn close_step(&mut self, step: Step) {
        let began = match &self.phase {
            Phase::Closing(closing) => closing.began,
            _ => self.now,
        };
        let limit = self.policy.shutdown_deadline / 2;
        let due = match step {
            Step::Asked => Some(self.now + limit),
            // Time alone proves nothing, but that it does not come back must be said.
            Step::Killing => Some(self.now + rungs::KILL_ALL + rungs::OVERLOAD + HOME),
            Step::Releasing => Some(self.now + rungs::RELEASE + rungs::PROVE),
            Step::Overtime => Some(self.now + rungs::OVERLOAD),
        };
        self.enter(Phase::Closing(Closing { began, step, due, stuck: None }));
        match step {
            Step::Asked => {
                self.call(Kind::Shutdown, ProcessId::init(""), OwnCall::Shutdown, limit);
            }
            Step::Killing => self.rung(Rung::KillAll, rungs::KILL_ALL),
            Step::Releasing => {
                self.rung(Rung::Release, rungs::RELEASE + rungs::PROVE + rungs::OVERLOAD);
            }
            Step::Overtime => self.answer_all(),
        }
    }

    pub(crate) fn closing_shim_exited(&mut self) {
        if matches!(&self.phase, Phase::Closing(closing) if closing.step == Step::Asked) {
            self.close_step(Step::Killing);
        }
    }

    pub(crate) fn closing_tick(&mut self) {
        let Phase::Closing(closing) = &self.phase else { return };
        if closing.due.is_none_or(|due| self.now < due) {
            return self.free_again();
        }
        match closing.step {
            Step::Asked => self.close_step(Step::Killing),
            Step::Killing => self.closing_stuck(kill_lost(), Killing::Lost),
            Step::Releasing => self.close_step(Step::Overtime),
            Step::Overtime => self.closing_rung(RungDone::Released {
                left: Vec::from(["release did not return in its time".into()]),
            }),
        }
    }

    pub(crate) fn closing_rung(&mut self, done: RungDone) {
        let Phase::Closing(closing) = &self.phase else { return };
        match (closing.step, done) {
            (Step::Killing, RungDone::AllKilled { left, .. }) if left.is_empty() => {
                self.close_step(Step::Releasing);
            }
            (Step::Killing, RungDone::AllKilled { left, at_ns }) if self.waits_for_kill() => {
                self.kill_came_back(left, at_ns);
            }
            (Step::Killing, RungDone::AllKilled { left, .. }) => self.closing_stuck(left, Killing::CameBack),
            (Step::Releasing | Step::Overtime, RungDone::Released { left }) => {
                let took = self.now - closing.began;
                if !left.is_empty() {
                    self.note(Note::Ended { took, left });
                }
                self.finish();
            }
            _ => {}
        }
    }

    fn closing_stuck(&mut self, left: Vec<String>, killing: Killing) {
        let stuck = self.free(left.clone(), killing);
        if let Phase::Closing(closing) = &mut self.phase {
            (closing.due, closing.stuck) = (None, Some(stuck));
        }
        self.arm_step();
        let refusal = self.cannot_shut_down(left);
        self.answer_shutdowns(Answer::Refused(refusal));
    }

    /// The real shim ends by itself in milliseconds after it has answered a Shutdown; after an error it does not.
    pub(crate) fn shutdown_returned(&mut self, outcome: &Outcome) {
        let asked = matches!(&self.phase, Phase::Closing(closing) if closing.step == Step::Asked);
        if asked && matches!(outcome, Outcome::Failed { .. }) {
            self.close_step(Step::Killing);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.enter(Phase::Closed);
        self.answer_all();
        self.output(Output::Quit);
    }

    fn answer_all(&mut self) {
        self.calls.clear();
        self.publish_owed();
        self.settle_all();
        self.output(Output::Save);
        self.answer_shutdowns(Answer::Done);
    }

    fn answer_shutdowns(&mut self, answer: Answer) {
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.kind == Kind::Shutdown);
        let waiting: Vec<RequestId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.reply(id, answer.clone());
        }
    }
}
