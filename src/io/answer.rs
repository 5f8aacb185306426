//! What a caller is answered.

use alloc::vec::Vec;

use super::real_shim::Status;
use super::request::{ProcessId, ProcessSpec};
use crate::error::GuardError;
use crate::exit::Exit;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the real shim has just answered, byte for byte.
    Relay,
    /// Success without content.
    Done,
    /// State from the record.
    State {
        /// Which process.
        process: ProcessId,
        /// What is known of it.
        about: ProcessSpec,
        /// Its status.
        status: Status,
        /// Its pid.
        pid: u32,
        /// Its exit, if it has ended.
        exit: Option<Exit>,
    },
    /// Pids from the record.
    Pids(Vec<u32>),
    /// Connect: the task's pid (0 when there is no such task, as the real shim answers).
    Connect(u32),
    /// Wait.
    Waited(Exit),
    /// Delete, or End.
    Deleted(Exit),
    /// The guard's own error.
    Error(GuardError),
}
