//! Which processes belong to a sandbox, and what proves it.

pub(crate) mod command_line;
pub(crate) mod exempt;
pub mod find;
pub mod process;
pub mod proof;
pub(crate) mod sigkill;
pub mod trusted;
