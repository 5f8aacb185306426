//! The guard: what containerd starts for a pod, in the place of gVisor's own shim. What is decided is decided in
//! `runsc_guard_core`; what touches a sandbox is in `runsc_guard_sandbox`.

// They panic when nobody reads any more, and so would end what is half done.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod about;
pub mod cli;
mod containerd;
pub mod delete;
mod fd_limit;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod info;
pub mod launch;
pub mod serve;
pub mod start;
