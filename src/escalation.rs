//! The escalation: when it begins, what it costs, and its steps.

pub(crate) mod cost;
pub(crate) mod deadlines;
pub(crate) mod judge;
pub(crate) mod locks;
pub(crate) mod release;
pub(crate) mod silence;
pub(crate) mod steps;
pub(crate) mod teardown;
pub(crate) mod unkillable;
pub(crate) mod verdict;
