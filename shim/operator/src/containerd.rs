//! The node's containerd: whose it is, its process, its API, its configuration as it stands in files, as containerd itself
//! prints it, and as it has it in memory.

pub(crate) mod client;
pub(crate) mod distribution;
pub(crate) mod docker;
pub(crate) mod dump;
mod duration;
pub(crate) mod files;
pub(crate) mod handler;
pub(crate) mod live;
pub(crate) mod process;
pub(crate) mod search;

/// The folder of bundles below a containerd's `state`, and so a part of the path of every bundle.
pub(crate) const BUNDLES: &str = "io.containerd.runtime.v2.task";
