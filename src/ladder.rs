//! The ladder: from evidence to proof, each rung with a budget of its own.
//!
//! Rungs 1 to 5 always run to the end once begun: after the guard has killed a sentry it lets no runsc
//! command run again, because `runsc delete` would kill the pid in its state file unchecked (rule 1). The
//! real shim keeps the time of rung 2 to report the exits in its own words.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::Kind;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Note, Output, ProcessId, RequestId, Rung, RungDone, Why};
use crate::policy::{HOME, rungs};
use crate::refusal::Refusal;
use crate::status::Stage;
use crate::task::Life;
use crate::time::Time;
use crate::unkillable::{Killing, kill_lost};

/// Where on the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Rung 1.
    Evidence,
    /// Rung 2; `dead` once the sandbox's processes are.
    Sandbox { dead: bool },
    /// Rung 3.
    All,
    /// Rungs 4 and 5.
    Release,
}

/// A ladder being climbed.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    began: Time,
    step: Step,
    /// When the step's budget is spent.
    due: Option<Time>,
    /// Where a Create hung, if that is why.
    stuck: Option<(String, String)>,
}

impl Ladder {
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Whether the sandbox's processes are known to be dead.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.step, Step::Sandbox { dead: true } | Step::Release)
    }

    pub(crate) fn began(&self) -> Time {
        self.began
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.step {
            Step::Evidence => Stage::Evidence,
            Step::Sandbox { .. } => Stage::KillSandbox,
            Step::All => Stage::KillAll,
            Step::Release => Stage::Release,
        }
    }
}

impl Guard {
    /// A wedge: the ladder begins. `since` is when the effect was first asked for.
    pub(crate) fn escalate(&mut self, why: Why, since: Time) {
        self.note(Note::Wedged { why, waited: self.now - since });
        self.climb(Step::Evidence);
    }

    /// What the root container's Create began is dead, and that was all of the sandbox.
    pub(crate) fn escalate_create(&mut self, container: String, stuck: String, since: Time) {
        self.note(Note::Wedged { why: Why::CreateStuck(container.clone()), waited: self.now - since });
        self.climb(Step::All);
        if let Phase::Ending(ladder) = &mut self.phase {
            ladder.stuck = Some((container, stuck));
        }
    }

    fn climb(&mut self, step: Step) {
        let (began, stuck) = match &self.phase {
            Phase::Ending(ladder) | Phase::Unkillable(ladder, _) => (ladder.began, ladder.stuck.clone()),
            _ => (self.now, None),
        };
        let (rung, budget) = match step {
            Step::Evidence => (Rung::Evidence, rungs::EVIDENCE),
            Step::Sandbox { .. } => (Rung::KillSandbox, rungs::KILL_SANDBOX),
            // Whatever the rungs before have left of their time: on a busy node dying takes longer.
            Step::All => (Rung::KillAll, (began + rungs::BEFORE_RELEASE - self.now).max(rungs::KILL_ALL)),
            Step::Release => (Rung::Release, rungs::RELEASE + rungs::PROVE),
        };
        // Rung 3 is over when the processes are dead, or shown to be unkillable: time alone proves nothing, but that
        // it does not come back must be said.
        let patience = if step == Step::All { rungs::OVERLOAD + HOME } else { Duration::ZERO };
        let due = Some(self.now + budget + patience);
        self.forced |= step != Step::Evidence;
        self.enter(Phase::Ending(Ladder { began, step, due, stuck }));
        self.rung(rung, budget);
    }

    pub(crate) fn rung_done(&mut self, done: RungDone) {
        let done = match done {
            RungDone::Freed { left, undecided } => return self.freed(left, undecided),
            RungDone::ReleasedOne { container, left, at_ns } => {
                return self.released_one(container, left, at_ns);
            }
            done => done,
        };
        if matches!(self.phase, Phase::Closing(_)) {
            return self.closing_rung(done);
        }
        let step = match &self.phase {
            Phase::Ending(ladder) => Some(ladder.step),
            _ => None,
        };
        match (step, done) {
            (_, RungDone::CreateKilled { container, stuck }) => self.create_killed(container, stuck),
            (Some(Step::Evidence), RungDone::Evidence) => self.climb(Step::Sandbox { dead: false }),
            (Some(Step::Sandbox { .. }), RungDone::SandboxKilled { left, mute }) => {
                if let Phase::Ending(ladder) = &mut self.phase {
                    ladder.step = Step::Sandbox { dead: left.is_empty() };
                }
                if left.is_empty() {
                    self.tell_withheld();
                }
                if left.is_empty() && mute {
                    self.climb(Step::All);
                } else {
                    self.exit_seen_by_ladder();
                }
            }
            (Some(Step::All), RungDone::AllKilled { left, at_ns }) if left.is_empty() => self.all_dead(at_ns),
            (Some(Step::All), RungDone::AllKilled { left, .. }) => self.unkillable(left, Killing::CameBack),
            (None, RungDone::AllKilled { left, at_ns }) if self.waits_for_kill() => {
                self.kill_came_back(left, at_ns);
            }
            (Some(Step::Release), RungDone::Released { left }) => self.released(left),
            // A release that was given up for lateness comes home: only now is it known what is left.
            (None, RungDone::Released { left }) if matches!(self.phase, Phase::Gone(_)) => {
                self.enter(Phase::Gone(left));
                self.output(Output::Save);
            }
            // Any other step that was given up.
            _ => {}
        }
    }

    /// The real shim is dead, too: what it may have said before comes too late.
    pub(crate) fn all_dead(&mut self, at_ns: u64) {
        self.calls.clear();
        self.establish_exits(at_ns);
        self.climb(Step::Release);
    }

    /// The step's budget is spent.
    pub(crate) fn ladder_tick(&mut self) {
        let Phase::Ending(ladder) = &self.phase else { return };
        if ladder.due.is_none_or(|due| self.now < due) {
            return;
        }
        match ladder.step {
            Step::Evidence => self.climb(Step::Sandbox { dead: false }),
            Step::Sandbox { .. } => self.climb(Step::All),
            Step::All => self.unkillable(kill_lost(), Killing::Lost),
            Step::Release => self.released(Vec::from([String::from(
                "release did not return in its time: a mount or a cgroup may still be there",
            )])),
        }
    }

    /// In rung 2: all exits are there and the sandbox is dead, so the real shim has nothing more to say.
    pub(crate) fn exit_seen_by_ladder(&mut self) {
        let Phase::Ending(Ladder { step: Step::Sandbox { dead: true }, .. }) = self.phase else { return };
        if self.tasks.processes().all(|(_, process)| process.exit.is_some() || process.life != Life::Started)
        {
            self.climb(Step::All);
        }
    }

    pub(crate) fn real_shim_exited(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.note(Note::RealShimDied);
            self.note(Note::Wedged { why: Why::RealShimDied, waited: Default::default() });
        }
        self.kill_at_once();
    }

    /// Rung 3 without those before: nothing of what they are for can be had any more.
    pub(crate) fn kill_at_once(&mut self) {
        match &self.phase {
            Phase::Open => self.climb(Step::All),
            Phase::Ending(ladder) if matches!(ladder.step, Step::Evidence | Step::Sandbox { .. }) => {
                self.climb(Step::All);
            }
            Phase::Closing(_) => self.closing_shim_exited(),
            _ => {}
        }
    }

    /// What could not be killed is dead at last: the ladder goes on where it stopped.
    pub(crate) fn remnants_died(&mut self) {
        match self.phase {
            Phase::Unkillable(..) => self.climb(Step::All),
            Phase::Closing(_) => self.closing_remnants_died(),
            _ => {}
        }
    }

    /// Rung 5 is over: the sandbox is gone, and everything that still waits is answered.
    fn released(&mut self, left: Vec<String>) {
        let Phase::Ending(ladder) = &self.phase else { return };
        let Ladder { began, stuck, .. } = ladder.clone();
        self.note(Note::Ended { took: self.now - began, left: left.clone() });
        self.enter(Phase::Gone(left));
        if self.is_leaving_the_node() {
            return self.leave();
        }
        if let Some((container, stuck)) = stuck {
            self.refuse_create(&ProcessId::init(&container), &stuck);
        }
        self.settle_all();
        for id in self.tasks.ids() {
            let Some(process) = self.tasks.get(&id) else { continue };
            if process.end || process.life == Life::Adding {
                // `delete` has asked for its end, or it never was: nobody else will delete it.
                self.delete_from_record(&id);
                self.remove(&id);
            }
        }
        self.output(Output::Save);
        if self.leaving {
            self.close_if_empty();
        }
    }

    /// Answers everything that still waits, but the Shutdowns.
    pub(crate) fn settle_all(&mut self) {
        let waiting = self.waiting.values().filter(|waiting| waiting.kind != Kind::Shutdown);
        let waiting: Vec<ProcessId> = waiting.map(|waiting| waiting.process.clone()).collect();
        for process in waiting {
            self.settle_one(&process);
        }
    }

    /// Answers whatever still waits for one process: a Delete last, after which nothing is known of it.
    pub(crate) fn settle_one(&mut self, process: &ProcessId) {
        let about = self.waiting.iter().filter(|(_, waiting)| waiting.process == *process);
        let mut about: Vec<(RequestId, Kind)> = about.map(|(id, waiting)| (*id, waiting.kind)).collect();
        about.sort_by_key(|(_, kind)| matches!(kind, Kind::Delete | Kind::End));
        for (request, kind) in about {
            let answer = self.settled_answer(kind, process);
            self.reply(request, answer);
        }
    }

    fn settled_answer(&mut self, kind: Kind, process: &ProcessId) -> Answer {
        let (method, id) = (kind.method(), name(process));
        let exit = self.tasks.get(process).and_then(|process| process.exit);
        match (kind, exit) {
            (Kind::Delete, _) => self.delete_from_record(process),
            // The Delete of the same moment may have been first.
            (Kind::End, _) => match self.deleted_exit(&process.container) {
                Some(exit) if self.tasks.get(process).is_none() => Answer::Deleted(exit),
                _ => self.delete_from_record(process),
            },
            (Kind::Wait, Some(exit)) => Answer::Waited(exit),
            (Kind::Signal(_), Some(_)) => Answer::Done,
            (Kind::State, Some(_)) => {
                self.state_from_record(process).unwrap_or(Answer::Refused(Refusal::NotFound(id)))
            }
            (Kind::Stats | Kind::Pids | Kind::KillEnded, Some(_)) => Answer::Refused(Refusal::Finished(id)),
            _ => Answer::Refused(self.closed_to(kind, process).unwrap_or(Refusal::Ending {
                method,
                id,
                why: "was torn down by the guard",
            })),
        }
    }
}
