//! What a caller is answered.

use alloc::vec::Vec;

use super::real_shim::Status;
use super::request::{About, ProcessId};
use crate::exit::Exit;
use crate::refusal::Refusal;

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
        about: About,
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
    Refused(Refusal),
}
