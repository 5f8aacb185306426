//! Ctrl-C at any moment, with nothing left: process 1 of the node is killed, on which everything on it ends, every command
//! there fails, and whoever waits for one returns.

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

#[derive(Default)]
struct State {
    wanted: bool,
    pid: Option<u32>,
}

/// Whether somebody wants to leave, and what ends then.
#[derive(Clone, Default)]
pub(crate) struct Leaving(Arc<Mutex<State>>);

impl Leaving {
    /// From now on SIGINT, SIGTERM and SIGHUP end the cluster.
    pub(crate) fn on_signals() -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take signals")?;
        let leaving = Self::default();
        let told = leaving.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                eprintln!("cluster: interrupted: ending everything");
                let mut state = told.state();
                state.wanted = true;
                state.pid.into_iter().for_each(kill);
            }
        });
        Ok(leaving)
    }

    /// This process is to be killed; one that nobody else reaps, so that its pid stays its own.
    pub(crate) fn ends(&self, pid: u32) {
        let mut state = self.state();
        state.pid = Some(pid);
        if state.wanted {
            kill(pid);
        }
    }

    /// Nothing is to be killed any more.
    pub(crate) fn over(&self) {
        self.state().pid = None;
    }

    /// Somebody wants to leave.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state().wanted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kill(pid: u32) {
    // That it may have ended is fine.
    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
}
