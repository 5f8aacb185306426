//! One test for each row of the table and each step, named for what must be so.

mod create;
mod delete;
mod ends;
mod escalation;
mod events;
mod kill;
mod lateness;
mod lost;
mod node;
mod pods;
mod queries;
mod recall;
mod refused;
mod released;
mod shutdown;
mod siblings;
mod silence;
mod table;
mod timers;
mod unkillable;
mod view;
mod watchdog;
