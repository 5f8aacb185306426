//! What holds after every input, in every test.

use std::collections::BTreeSet;

use crate::io::{Answer, Output, ProcessId, Publication, Request, RequestId, Step};
use crate::tests::ledger::Incoming;
use crate::tests::world::{World, init};

impl World {
    /// As long as anything is open that something else may not end, there is a timer.
    pub(super) fn check_timer(&self) {
        let waits = |id: &RequestId| matches!(self.ledger.asked[id].request, Request::Wait(_));
        let open = self.guard.has_a_step_out() || self.ledger.open.iter().any(|id| !waits(id));
        let set = self.guard.poll_timeout().is_some() || self.ledger.quit;
        assert!(set || !open, "no timer is set: {:#?}", self.guard);
    }

    /// As long as something cannot be killed, the guard itself establishes no end. (One that was known before may
    /// be told, and what the real shim says is so.)
    pub(super) fn check_unkillable(&self, output: &Output, incoming: &Incoming, known: &BTreeSet<ProcessId>) {
        let ended = |id: &RequestId| match &self.ledger.asked[id].request {
            Request::End(container) => known.contains(&init(container)),
            Request::Delete(process) => known.contains(process),
            _ => false,
        };
        let establishes = match output {
            Output::Publish(Publication::Exit(..)) => !matches!(incoming, Incoming::Event(_)),
            Output::Step(Step::Release, _) | Output::Quit => true,
            Output::Reply(id, Answer::Deleted(_)) => !ended(id),
            _ => false,
        };
        assert!(!establishes || self.guard.stuck().is_none(), "{output:?} while {:?}", self.guard.stuck());
    }
}
