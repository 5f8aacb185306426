//! The fake kernel: what the steps of the escalation do to the fake sandbox.

use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

use crate::exit::REAL_SHIM_LOST_IT;
use crate::io::{Input, ProbeResult, ProcessId, Step, StepKind, StepResult};
use crate::tests::fake::{Fakes, Soon, fail, ms};
use crate::tests::on::Lost;

/// Every step.
pub(crate) const STEPS: [Step; StepKind::ALL.len()] = [
    Step::Diagnose,
    Step::KillSandbox,
    Step::KillAll,
    any_kill_create(),
    Step::Release,
    any_release_one(),
    Step::Unblock,
    Step::Watch,
];

/// How the fake kernel treats a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lasts {
    /// Done after this time.
    For(Duration),
    /// It never comes back.
    Forever,
}

impl Fakes {
    /// runsc is killed under the real shim: what hung fails.
    fn runsc_killed(&mut self) -> Soon {
        let hanging = core::mem::take(&mut self.hanging);
        hanging.into_iter().flat_map(|call| fail(call, ms(1))).collect()
    }

    pub(crate) fn take(&mut self, step: &Step) -> Soon {
        let kind = step.kind();
        let Lasts::For(takes) = self.steps.get(&kind).copied().unwrap_or(Lasts::For(ms(50))) else {
            self.lost.insert(Lost::Step(kind));
            return Vec::new();
        };
        let mut soon = Soon::new();
        let done = match step {
            Step::Diagnose => StepResult::Diagnosed,
            Step::KillSandbox => {
                soon.extend(self.runsc_killed());
                let ids: Vec<ProcessId> = self.processes.keys().cloned().collect();
                if self.reports && !self.cannot_report && self.unkillable.is_empty() {
                    soon.extend(ids.iter().flat_map(|id| self.exit(id, REAL_SHIM_LOST_IT, takes + ms(5))));
                }
                StepResult::SandboxKilled { left: self.unkillable.clone(), cannot_report: self.cannot_report }
            }
            Step::KillAll => {
                if !core::mem::replace(&mut self.shim_dead, true) {
                    soon.push((takes, Input::RealShimExited));
                }
                let at_ns = self.epoch_ns + 100;
                StepResult::AllKilled { left: self.unkillable.clone(), at_ns }
            }
            Step::KillCreate(container) => {
                soon.extend(self.runsc_killed());
                StepResult::CreateKilled { container: container.clone(), stuck: "pipe_read".to_string() }
            }
            Step::Watch => StepResult::Watched,
            Step::ReleaseOne(container) => {
                let (left, at_ns) = (self.leftover.clone(), self.epoch_ns + 100);
                StepResult::ReleasedOne { container: container.clone(), left, at_ns }
            }
            Step::Release => StepResult::Released { left: self.leftover.clone() },
            Step::Unblock => {
                if self.free_works && !self.unkillable.is_empty() {
                    self.unkillable.clear();
                    soon.push((takes + ms(5), Input::StuckDied));
                }
                StepResult::Unblocked { left: self.unkillable.clone(), undecided: self.undecided }
            }
        };
        soon.push((takes, Input::Step(done)));
        soon
    }

    pub(crate) fn probe(&mut self, timeout: Duration) -> Soon {
        let (takes, heard) = match self.sentry {
            Hears::Answers(after) if after < timeout => (after, ProbeResult::Answers),
            Hears::Answers(_) | Hears::Slow => (timeout, ProbeResult::Slow),
            Hears::Paused => (ms(1), ProbeResult::Paused),
            Hears::Nothing => (timeout, ProbeResult::Nothing),
            Hears::Lost => {
                self.lost.insert(Lost::Probe);
                return Vec::new();
            }
        };
        Vec::from([(takes, Input::Probed(heard))])
    }
}

/// How the fake sentry takes a question.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hears {
    /// It answers after this time; where that is longer than anybody waits, it is seen at work.
    Answers(Duration),
    /// It is seen at work, or held back.
    Slow,
    /// It was paused.
    Paused,
    /// It neither answers nor works.
    Nothing,
    /// The question itself does not come back.
    Lost,
}

/// Any teardown of a Create, to say how long it takes.
pub(crate) const fn any_kill_create() -> Step {
    Step::KillCreate(String::new())
}

/// Any release of one container.
pub(crate) const fn any_release_one() -> Step {
    Step::ReleaseOne(String::new())
}

pub(crate) fn kill_create(container: &str) -> Step {
    Step::KillCreate(container.into())
}

pub(crate) fn release_one(container: &str) -> Step {
    Step::ReleaseOne(container.into())
}
