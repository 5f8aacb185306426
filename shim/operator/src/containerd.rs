//! The node's containerd: its process, its configuration as it stands in files, as containerd itself prints it, and as
//! it has it in memory.

pub(crate) mod dump;
pub(crate) mod files;
pub(crate) mod live;
pub(crate) mod process;
