//! Ending a sandbox: one sequence of steps, and what each step does.

pub(crate) mod hooks;
pub mod kill;
pub mod leftover;
mod observer;
pub mod release;
pub mod sequence;
pub mod stuck;
pub mod unblock;
pub mod verify;
