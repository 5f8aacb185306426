//! Processes that are stopped, and told to end.

use crate::{eventually, process::Process};
use anyhow::Result;
use rustix::process::Signal;
use std::time::Duration;

/// Stops a process and waits until it is.
pub fn stop(process: &Process) -> Result<()> {
    process.signal(Signal::STOP)?;
    eventually(Duration::from_secs(5), "stopped", || {
        Process::read(process.pid).is_none_or(|now| now.state == 'T').then_some(())
    })
}

/// SIGTERM to each, as systemd-shutdown tells all (src/shutdown/killall.c, `broadcast_signal`): nobody runs before
/// everybody is told.
pub fn terminate(processes: &[Process]) {
    for signal in [Signal::STOP, Signal::TERM, Signal::CONT] {
        for process in processes {
            // One that ends meanwhile is told nothing.
            let _ = process.signal(signal);
        }
    }
}
