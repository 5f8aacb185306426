//! What was seen of the guard, in the words of the scenarios.

use std::time::Duration;
use std::vec::Vec;

use crate::error::{Code, GuardError};
use crate::exit::Exit;
use crate::io::{Answer, Cause, Event, Note, ProcessId, RequestId, Status, Step};
use crate::tests::world::World;
use crate::time::Time;

impl World {
    pub(crate) fn answer(&self, id: RequestId) -> Option<Answer> {
        self.ledger.answers.get(&id).map(|(_, answer)| answer.clone())
    }

    /// When a request was answered, from when it was sent.
    #[track_caller]
    pub(crate) fn took(&self, id: RequestId) -> Duration {
        let (answered, _) = self.ledger.answers.get(&id).expect("it was answered");
        *answered - self.ledger.asked[&id].at
    }

    #[track_caller]
    pub(crate) fn error(&self, id: RequestId) -> GuardError {
        match self.answer(id) {
            Some(Answer::Error(error)) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn code(&self, id: RequestId) -> Code {
        self.error(id).code()
    }

    #[track_caller]
    pub(crate) fn exit_of(&self, id: RequestId) -> Exit {
        match self.answer(id) {
            Some(Answer::Waited(exit) | Answer::Deleted(exit)) => exit,
            other => panic!("no exit: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn status_of(&self, id: RequestId) -> (Status, Option<u32>) {
        match self.answer(id) {
            Some(Answer::State { status, exit, .. }) => (status, exit.map(|exit| exit.status)),
            other => panic!("no state: {other:?}"),
        }
    }

    /// The steps that were taken.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.ledger.steps.iter().map(|(_, step)| step.clone()).collect()
    }

    /// When the escalation began and why.
    pub(crate) fn wedge(&self) -> Option<(Time, Cause)> {
        self.ledger.notes.iter().find_map(|(time, note)| match note {
            Note::Wedged { cause, .. } => Some((*time, cause.clone())),
            _ => None,
        })
    }

    /// Statuses that were published for a process.
    pub(crate) fn published(&self, id: &ProcessId) -> Vec<u32> {
        let exits = self.ledger.published.iter().filter_map(|(_, event)| match event {
            Event::Exit(of, exit) if of == id => Some(exit.status),
            _ => None,
        });
        exits.collect()
    }

    #[track_caller]
    pub(crate) fn untouched(&self) {
        assert_eq!(self.ledger.kills(), 0, "{:?}", self.ledger.steps);
    }

    /// Nothing was done but to tear down a Create.
    #[track_caller]
    pub(crate) fn untouched_but_for_create(&self) {
        assert!(
            self.steps().iter().all(|step| matches!(step, Step::KillCreate(_))),
            "{:?}",
            self.ledger.steps
        );
    }
}
