//! The guard in simulated time: a fake world, scenarios for each row of the table and each rung, and random
//! sequences against invariants. Two minutes of hanging cost microseconds.
#![allow(clippy::unwrap_used)]

mod fake;
mod hung;
mod invariants;
mod kernel;
mod ledger;
mod scan;
mod scenarios;
mod seen;
mod world;

/// What a guard still has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenEnds {
    pub(crate) waiting: usize,
    pub(crate) calls: usize,
    pub(crate) owed: usize,
    pub(crate) processes: usize,
    pub(crate) requests_in_calls: usize,
}
