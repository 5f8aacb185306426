//! One test for each row of the table and each rung, named for what must be so.

mod closing;
mod create;
mod ends;
mod events;
mod forgotten;
mod ladder;
mod lateness;
mod lost;
mod pods;
mod questions;
mod refused;
mod released;
mod siblings;
mod signals;
mod silence;
mod status;
mod table;
mod terminate;
mod timers;
mod unkillable;
mod watchdog;
