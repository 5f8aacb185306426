//! Who is told of an escalation, and what: the report of it, containerd's log with one line for each rung, and
//! containerd's events at its beginning and its end.

use std::time::Duration;

use log::Level;
use runsc_guard_core::io::{Answer, Cause, Note, ProcessId, Request, RequestId, Step, StepResult};
use runsc_guard_core::view::{Awaited, View};

use super::chronicle::Chronicle;
use super::publish::Publisher;
use super::status::Memory;
use super::{announce, note};
use runsc_guard_node::params::ServeParams;

/// The voice of the guard while it ends its sandbox.
pub(super) struct Escalation {
    chronicle: Chronicle,
    publisher: Publisher,
    namespace: String,
    sandbox: String,
}

impl Escalation {
    pub(super) fn new(chronicle: Chronicle, publisher: Publisher, params: &ServeParams) -> Self {
        let (namespace, sandbox) = (params.namespace.clone(), params.sandbox.clone());
        Self { chronicle, publisher, namespace, sandbox }
    }

    /// The state machine has something to tell.
    pub(super) fn note(&self, note: &Note, view: impl FnOnce() -> View, memory: &Memory) {
        match note {
            Note::Wedged { cause, waited } => {
                let sign = cause.to_string();
                self.chronicle.begins(&sign, *waited, true, view(), memory);
                self.publish("begins", vec![("sign", sign), ("waited_ms", millis(*waited))]);
            }
            Note::Ended { took, left } => {
                self.happened(&note::line(note).1);
                let labels = vec![("took_ms", millis(*took)), ("left", left.len().to_string())];
                self.publish("ends", labels);
                self.chronicle.ends(left);
            }
            Note::Unkillable(left) => {
                if !self.chronicle.is_open() {
                    // On the guard's way out, with no sign before.
                    let sign = "SIGKILL did not end what was left of the sandbox";
                    self.chronicle.begins(sign, Duration::ZERO, true, view(), memory);
                }
                self.happened(&note::line(note).1);
                self.chronicle.is_stuck(left);
                self.publish("unkillable", vec![("left", left.len().to_string())]);
            }
            Note::CreateStuck { container, .. } => {
                self.happened(&note::line(note).1);
                // The root container's is the whole sandbox, whose end follows.
                if *container != self.sandbox {
                    self.chronicle.one_ends();
                }
            }
            Note::ReleasedOne { left, .. } => {
                self.happened(&note::line(note).1);
                self.chronicle.is_stuck(left);
                self.chronicle.one_ends();
            }
            Note::Silent(waited) => {
                let sign = "it does not answer, though nobody wants its end";
                self.chronicle.begins(sign, *waited, false, view(), memory);
                self.publish("silent", vec![("waited_ms", millis(*waited))]);
            }
            // Its bundle is gone, and with it the way of a line into containerd's log.
            Note::Forgotten => self.publish("forgotten", Vec::new()),
            Note::RealShimDied | Note::NodeGoesDown | Note::Late(_) | Note::AnswersAgain(_) => {
                self.happened(&note::line(note).1)
            }
        }
    }

    /// A step of the ladder is about to be taken. The end of one container's Create is an escalation of its own, and so
    /// is the release of one container.
    pub(super) fn rung_begins(
        &self,
        rung: &Step,
        budget: Duration,
        view: impl FnOnce() -> View,
        memory: &Memory,
    ) {
        let of_one = match rung {
            Step::KillCreate(container) => {
                Some((Awaited::Creation, Cause::CreateStuck(container.clone()), container))
            }
            Step::ReleaseOne(container) => {
                Some((Awaited::Deletion, Cause::DeleteStuck(ProcessId::init(container)), container))
            }
            _ => None,
        };
        if let Some((effect, why, container)) = of_one.filter(|_| !self.chronicle.is_open()) {
            let view = view();
            let concerns = |deadline: &&runsc_guard_core::view::DeadlineView| {
                deadline.effect == effect && deadline.process.container == *container
            };
            let waited =
                view.deadlines.iter().find(concerns).map_or(Duration::ZERO, |deadline| deadline.waited);
            self.chronicle.begins(&why.to_string(), waited, false, view, memory);
        }
        self.chronicle.rung_begins(rung.as_str(), budget);
    }

    /// A step of the ladder has come back.
    pub(super) fn rung_ends(&self, done: &StepResult) {
        let (step, left) = (done.step(), done.left());
        let name = step.as_str();
        let rung = self.chronicle.rung_ends(name, left);
        match done {
            StepResult::Released { left } => self.chronicle.comes_home(left),
            StepResult::Watched => self.chronicle.only_looked(),
            _ => {}
        }
        let Some(rung) = rung else { return };
        let level = if left.is_empty() { Level::Info } else { Level::Warn };
        let file = self.chronicle.file().unwrap_or_default();
        let omitted = match rung.omitted {
            0 => String::new(),
            omitted => format!(" ({omitted} lines like this were left out)"),
        };
        log::log!(
            level,
            rung = name,
            budget_ms = rung.budget_ms,
            took_ms = rung.took_ms,
            left = left.len(),
            report:% = file.display();
            "rung {name} took {} ms{omitted}",
            rung.took_ms
        );
    }

    /// Something happened that may belong to it.
    pub(super) fn happened(&self, line: &str) {
        self.chronicle.happened(line);
    }

    /// A request has come in.
    pub(super) fn asked(&self, id: RequestId, method: &str, op: &Request) {
        self.chronicle.asked(id, method, op);
    }

    /// A request is answered.
    pub(super) fn answered(&self, id: RequestId, answer: &Answer) {
        self.chronicle.answered(id, || words(answer));
    }

    /// Nobody waits for the answer to this request any more.
    pub(super) fn abandoned(&self, id: RequestId) {
        self.chronicle.abandoned(id);
    }

    fn publish(&self, phase: &str, mut labels: Vec<(&str, String)>) {
        labels.push(("phase", phase.to_owned()));
        labels.extend(self.chronicle.file().map(|file| ("report", file.display().to_string())));
        self.publisher.publish(announce::escalation(&self.namespace, &self.sandbox, labels));
    }
}

/// An answer, in words.
fn words(answer: &Answer) -> String {
    match answer {
        Answer::Relay => "as the real shim answered".to_owned(),
        Answer::Done => "done".to_owned(),
        Answer::State { .. } | Answer::Pids(_) | Answer::Connect(_) => "from the guard's record".to_owned(),
        Answer::Waited(exit) | Answer::Deleted(exit) => format!("exit status {}", exit.status),
        Answer::Error(refusal) => refusal.to_string(),
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
