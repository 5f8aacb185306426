//! Everything that touches the world: the shim protocol, serving, forwarding, and ending sandboxes.
//! What is decided is decided in `runsc_guard`.

pub mod ask;
pub mod bundle;
pub mod cli;
pub mod config;
mod containerd;
pub mod delete;
mod descriptors;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod info;
pub mod kernel;
pub mod launch;
pub mod lock;
pub mod orphan;
pub mod place;
pub mod report;
pub mod sandbox;
pub mod serve;
pub mod start;
pub mod sweep;
