//! Whether a sandbox answers, and what can be said of one that does not.

pub(crate) mod bounded_command;
pub mod control;
pub mod processes;
pub mod pulse;
pub mod stacks;
pub mod usage;
