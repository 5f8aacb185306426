//! Ctrl-C at any moment, with nothing left running: for the programs among the harness's users. (A test that is
//! interrupted leaves its hosts behind.)
//!
//! The hosts are ended while others still use them: every call in flight then fails, its caller returns, and
//! what is dropped on the way out finds nothing more to do. A flag for the callers to look at would not be
//! enough: most of their time they wait for an answer.

use crate::Host;
use anyhow::{Context as _, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
struct State {
    raised: bool,
    settled: bool,
    hosts: Vec<Arc<Host>>,
}

/// Whether somebody wants to leave, and what is to be ended then.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<(Mutex<State>, Condvar)>);

impl Interrupt {
    /// From now on the first SIGINT, SIGTERM or SIGHUP runs `announce` and ends the registered hosts; later ones
    /// change nothing.
    pub fn on_signals(announce: impl Fn() + Send + 'static) -> Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take signals")?;
        let raiser = interrupt.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                if !raiser.raised() {
                    announce();
                    raiser.raise();
                }
            }
        });
        Ok(interrupt)
    }

    fn raise(&self) {
        let hosts = {
            let mut state = self.state();
            state.raised = true;
            self.0.1.notify_all();
            std::mem::take(&mut state.hosts)
        };
        for host in hosts {
            // What would not go is reported when the host is dropped.
            let _ = host.end();
        }
        self.state().settled = true;
        self.0.1.notify_all();
    }

    /// Somebody wants to leave.
    pub fn raised(&self) -> bool {
        self.state().raised
    }

    /// Waits until an interruption, if there is one, has ended everything, and tells whether there is one.
    pub fn settle(&self) -> bool {
        let mut state = self.state();
        while state.raised && !state.settled {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.raised
    }

    /// `host` is to be ended when somebody wants to leave; an error if that is already so.
    pub fn register(&self, host: &Arc<Host>) -> Result<()> {
        let mut state = self.state();
        if state.raised {
            bail!("interrupted");
        }
        state.hosts.push(Arc::clone(host));
        Ok(())
    }

    /// `host` has been ended by its owner.
    pub fn forget(&self, host: &Arc<Host>) {
        self.state().hosts.retain(|known| !Arc::ptr_eq(known, host));
    }

    /// Lets `time` pass; an error as soon as somebody wants to leave.
    pub fn pause(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !state.raised {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        bail!("interrupted")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
