//! What the driver tells.

use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use runsc_guard_core::io::{Answer, Event, Method, Note, Request, RequestId, Step, StepResult};
use ttrpc::{Code, Response};

/// Something that has happened.
pub(crate) enum Fact<'a> {
    /// A request has come in.
    Asked { id: RequestId, op: &'a Request },
    /// A request is answered: its method and when it came, and how it ended.
    Answered { id: RequestId, answer: &'a Answer, of: (Method, Instant), outcome: Outcome },
    /// Nobody waits for the answer to this request any more.
    Abandoned { id: RequestId, of: Option<(Method, Instant)> },
    /// The real shim has done what a call asked for.
    Done,
    /// The real shim has published an event.
    Published { topic: &'a str, event: &'a Event },
    /// The real shim's process has ended.
    RealShimEnded(WaitStatus),
    /// A step of the escalation is about to be taken, within this time.
    StepBegins(&'a Step, Duration),
    /// A step has come back.
    StepEnds(&'a StepResult),
    /// The sentry is not asked for Stats any more, and why.
    StatsRefuted(&'a str),
    /// The state machine has something to tell.
    Noted(&'a Note),
}

impl Fact<'_> {
    /// It comes with every request, as often as there are.
    pub(super) fn is_of_a_request(&self) -> bool {
        matches!(
            self,
            Self::Asked { .. }
                | Self::Answered { .. }
                | Self::Abandoned { .. }
                | Self::Done
                | Self::Published { .. }
        )
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the real shim's answer.
    Ok,
    /// With an error of the real shim's own.
    Error,
    /// With an answer of the guard's, from what it knows.
    Guard,
    /// With an error of the guard's.
    Refused,
    /// Its caller went away first.
    Abandoned,
}

impl Outcome {
    /// Of an answer; `relayed` is what the real shim said, where that is passed on.
    pub(crate) fn of(answer: &Answer, relayed: Option<&Response>) -> Self {
        // By number: `code()` takes one that it does not know for OK.
        let failed = |response: &Response| response.status().code.value() != Code::OK as i32;
        match answer {
            Answer::Relay if relayed.is_some_and(failed) => Self::Error,
            Answer::Relay => Self::Ok,
            Answer::Error(_) => Self::Refused,
            Answer::Done
            | Answer::State { .. }
            | Answer::Pids(_)
            | Answer::Connect(_)
            | Answer::Waited(_)
            | Answer::Deleted(_) => Self::Guard,
        }
    }
}
