//! The guard in simulated time: a fake world, scenarios for each row of the table and each rung, and random
//! sequences against invariants. Two minutes of hanging cost microseconds.
#![allow(clippy::unwrap_used)]

mod fake;
mod hung;
mod inspect;
mod invariants;
mod kernel;
mod ledger;
mod scan;
mod scenarios;
mod seen;
mod world;
