//! Whether a sandbox answers, and what can be said of one that does not.

pub(crate) mod child;
pub mod control;
pub mod evidence;
pub mod pulse;
pub mod stacks;
