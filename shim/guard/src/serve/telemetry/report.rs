//! What of all that happens belongs into the report of an escalation, and when one begins and ends.

use std::time::Duration;

use runsc_guard_core::io::{Cause, CauseKind, Note, ProcessId, Step, StepResult};
use runsc_guard_core::view::{Awaited, DeadlineView, View};

use super::fact::Fact;
use super::observer::{Observer, Scene};
use super::report_writer::{ReportWriter, Why};
use super::words;

/// Puts it in.
pub(super) struct Report {
    writer: ReportWriter,
    sandbox: String,
}

impl Report {
    pub(super) fn new(writer: ReportWriter, sandbox: &str) -> Self {
        Self { writer, sandbox: sandbox.to_owned() }
    }

    fn begins(&self, why: Why<'_>, whole: bool, scene: &Scene<'_>) {
        self.writer.begins(why, whole, (scene.view)(), scene.recent);
    }

    fn note(&self, note: &Note, scene: &Scene<'_>) {
        if let Note::Wedged { waited, .. } | Note::Silent(waited) = note
            && let (Some(cause), Some(sign)) = (note.cause(), words::sign(note))
        {
            let whole = cause != CauseKind::SilentReported;
            self.begins(Why { cause, sign: &sign, waited: *waited }, whole, scene);
        }
        if matches!(note, Note::Unkillable(_)) && !self.writer.is_open() {
            // On the guard's way out, with no sign before.
            let sign = "SIGKILL did not end what was left of the sandbox";
            let why = Why { cause: CauseKind::Unkillable, sign, waited: Duration::ZERO };
            self.begins(why, true, scene);
        }
        if let Some(phase) = note.phase() {
            self.writer.is_in(phase);
        }
        let happened = || self.writer.happened(&words::line(note).1);
        match note {
            // What came home late is told by the release itself.
            Note::Wedged { .. } | Note::Silent(_) | Note::Forgotten | Note::ReleasedLate(_) => {}
            Note::Ended { took, left, .. } => {
                happened();
                self.writer.ends(*took, left);
            }
            Note::Unkillable(left) => {
                happened();
                self.writer.is_stuck(left);
            }
            Note::CreateStuck { container, .. } => {
                happened();
                // The root container's is the whole sandbox, whose end follows.
                if *container != self.sandbox {
                    self.writer.one_ends();
                }
            }
            Note::ReleasedOne { left, .. } => {
                happened();
                self.writer.is_stuck(left);
                self.writer.one_ends();
            }
            Note::RealShimDied | Note::NodeGoesDown | Note::Late(_) | Note::AnswersAgain(_) => happened(),
        }
    }

    /// The end of one container's Create is an escalation of its own, and so is the release of one container.
    fn step_begins(&self, step: &Step, budget: Duration, scene: &Scene<'_>) {
        let of_one = match step {
            Step::KillCreate(container) => {
                Some((Awaited::Creation, Cause::CreateStuck(container.clone()), container))
            }
            Step::ReleaseOne(container) => {
                Some((Awaited::Deletion, Cause::DeleteStuck(ProcessId::init(container)), container))
            }
            _ => None,
        };
        if let Some((effect, why, container)) = of_one.filter(|_| !self.writer.is_open()) {
            let view: View = (scene.view)();
            let concerns = |deadline: &&DeadlineView| {
                deadline.effect == effect && deadline.process.container == *container
            };
            let waited =
                view.deadlines.iter().find(concerns).map_or(Duration::ZERO, |deadline| deadline.waited);
            let why = Why { cause: why.kind(), sign: &why.to_string(), waited };
            self.writer.begins(why, false, view, scene.recent);
        }
        self.writer.step_begins(step.kind(), budget);
    }

    fn step_ends(&self, done: &StepResult) {
        let left = done.left();
        self.writer.step_ends(done.kind(), left);
        match done {
            StepResult::Released { left } => self.writer.comes_home(left),
            StepResult::Watched => self.writer.only_looked(),
            _ => {}
        }
    }
}

impl Observer for Report {
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>) {
        match fact {
            Fact::Asked { id, op } => self.writer.asked(*id, op),
            Fact::Answered { id, answer, .. } => self.writer.answered(*id, || words::answer(answer)),
            Fact::Abandoned { id, .. } => self.writer.abandoned(*id),
            Fact::Published { topic, event } if self.writer.is_open() => {
                self.writer.happened(&words::event(topic, event));
            }
            Fact::StepBegins(step, budget) => self.step_begins(step, *budget, scene),
            Fact::StepEnds(done) => self.step_ends(done),
            Fact::Noted(note) => self.note(note, scene),
            Fact::Published { .. } | Fact::Done | Fact::RealShimEnded(_) | Fact::StatsRefuted(_) => {}
        }
    }
}
