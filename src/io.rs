//! The whole vocabulary: what the guard is told ([`Input`]) and what it wants done ([`Output`]).

use core::time::Duration;

pub(crate) mod answer;
pub mod keys;
pub(crate) mod note;
pub(crate) mod real_shim;
pub(crate) mod request;
pub(crate) mod step;

pub use answer::Answer;
pub use keys::{CauseKind, EscalationPhase, StepKind};
pub use note::{Cause, Note};
pub use real_shim::{
    CallId, ConnectionKind, Event, Outcome, OwnCall, Publication, ResponseInfo, Status, Way,
};
pub use request::{Method, ProcessId, ProcessSpec, Request, RequestId, Sentry};
pub use step::{ProbeResult, Step, StepResult};

/// What the shim reports to the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request came in. `caller` is the caller's own timeout, if it set one.
    Request {
        /// Its number, never used before.
        id: RequestId,
        /// What it asks for.
        request: Request,
        /// The caller's timeout.
        caller: Option<Duration>,
    },
    /// The caller of a request is gone; no answer is possible any more.
    Abandoned(RequestId),
    /// A call came back.
    Returned(CallId, Outcome),
    /// The real shim published an event.
    Event(Event),
    /// The real shim's process ended.
    RealShimExited,
    /// The real shim's process ended as one does that was sent SIGTERM.
    RealShimLeft,
    /// The node goes down: SIGTERM was sent, and containerd is gone or the service manager has come to the end.
    Terminate,
    /// A question to the sentry ended.
    Probed(ProbeResult),
    /// A step of the escalation ended.
    Step(StepResult),
    /// The processes that could not be killed have died.
    StuckDied,
    /// The last connection to the guard has ended.
    Deserted,
    /// What a look for containerd's memory found.
    Recalled(Recalled),
    /// Time has passed; harmless when early or repeated.
    Tick,
}

/// Whether containerd knows the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// A bundle is there, and somebody is connected.
    Known,
    /// It cannot be said.
    Unclear,
    /// No bundle is there, and containerd, asked, knows none of its tasks.
    Forgotten,
}

/// What the guard wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer a request: exactly one for each that came in and was not abandoned.
    Reply(RequestId, Answer),
    /// Send a request's own bytes on. `timeout` goes with them; the call comes back when the real shim
    /// answers, however late.
    Forward {
        /// The call's number.
        call: CallId,
        /// Whose bytes.
        request: RequestId,
        /// For `timeout_nano`.
        timeout: Duration,
        /// By which way.
        way: Way,
    },
    /// Send a request of the guard's own.
    Call {
        /// The call's number.
        call: CallId,
        /// What.
        own: OwnCall,
        /// For `timeout_nano`.
        timeout: Duration,
    },
    /// Give a call up (close its connection); nothing comes back.
    Cancel(CallId),
    /// Publish the event that has just come in, as it came in or with the guard's exit in its place.
    Publish(Publication),
    /// Ask the sentry, past the real shim, whether it answers within this time, and look at it meanwhile; answered by
    /// [`Input::Probed`]. Like every step it is given up when it does not come back.
    Probe(Duration),
    /// Take a step within this time; answered by [`Input::Step`], or given up some time after.
    Step(Step, Duration),
    /// Look whether containerd still knows the sandbox; answered by [`Input::Recalled`].
    Recall,
    /// Unlink the socket: nobody can join any more.
    StopListening,
    /// Write the record: members or exits have changed.
    Save,
    /// Tell the operator.
    Note(Note),
    /// End the process, after the answers are out.
    Quit,
}
