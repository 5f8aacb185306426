//! Which processes belong to a sandbox, and what proves it.

pub(crate) mod command_line;
pub mod find;
pub mod process;
pub mod proof;
pub mod trusted;
