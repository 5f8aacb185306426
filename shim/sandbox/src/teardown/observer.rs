//! In what those who take the steps differ: who is told, and who waits.

use std::time::{Duration, Instant};

use runsc_guard_core::io::StepKind;

use crate::resources::inventory::Released;

/// Who is told how it goes.
pub trait Observer {
    /// Whether anybody listens: what nobody wants to know is not looked for.
    fn listens(&self) -> bool {
        true
    }

    /// [`Sequence::run`](crate::teardown::sequence::Sequence::run) begins a step, which ought to be over by then.
    fn begins(&self, _step: StepKind, _until: Instant) {}

    /// It is over, with this left.
    fn ends(&self, _step: StepKind, _left: &[String]) {}

    /// Something was done that a person should know of.
    fn happened(&self, _line: &str) {}

    /// What was released.
    fn released(&self, _released: Vec<Released>) {}
}

/// Nobody is told, but for the log.
pub struct Nobody;

impl Observer for Nobody {
    fn listens(&self) -> bool {
        false
    }
}

/// Who waits, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The processes ought to be dead by then ...
    pub dead: Instant,
    /// ... or this much later, on a node so busy that dying takes long.
    pub overload: Duration,
    /// When all is over: what is there then is told. A release that has begun is not cut short.
    pub over: Instant,
}
