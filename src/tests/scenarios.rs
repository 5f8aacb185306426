//! One test for each row of the table and each rung, named for what must be so.

mod closing;
mod create;
mod events;
mod ladder;
mod lateness;
mod pods;
mod questions;
mod signals;
mod status;
mod table;
mod unkillable;
mod watchdog;
