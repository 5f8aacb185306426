//! The kernel's interfaces: system calls, small files, /proc, and which process is which.

pub mod bounded;
pub mod file;
pub mod identity;
pub mod kernel;
pub mod procfs;
