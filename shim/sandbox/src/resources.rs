//! What a sandbox holds besides processes: cgroups, mounts, files, a network, FUSE connections; and the files of runsc and
//! the engine that say so.

pub mod asked;
pub mod cgroup;
pub(crate) mod cgroup_path;
pub mod fuse;
pub mod held;
pub(crate) mod hooks;
pub mod inventory;
pub mod mount_namespace;
pub mod mounts;
pub mod network;
pub mod spec;
pub mod state_file;
pub mod termination_log;
