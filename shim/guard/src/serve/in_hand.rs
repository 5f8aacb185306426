//! The sandbox's sentry and its real shim, by descriptors that were opened when there were some: they can be ended even
//! when none is left.

use std::io::ErrorKind;

use nix::sys::signal::Signal;
use runsc_guard_core::io::{Sentry, Step};

use runsc_guard_sandbox::sys::identity::{Identity, Stat};
use runsc_guard_sandbox::sys::kernel::PidFd;
use runsc_guard_sandbox::sys::procfs;

pub(super) struct InHand {
    sentry: Option<Identity>,
    sentry_fd: Option<PidFd>,
    real_shim_fd: Option<PidFd>,
}

impl InHand {
    /// No sentry is known yet.
    pub(super) fn new(real_shim: Identity) -> Self {
        Self { sentry: None, sentry_fd: None, real_shim_fd: real_shim.open().ok() }
    }

    /// Who the sentry is. The first that is told stays it.
    pub(super) fn learn(&mut self, sentry: Identity) {
        if self.sentry.is_none() {
            self.sentry = Some(sentry);
            self.sentry_fd = sentry.open().ok();
        }
    }

    /// The sentry, from the first Create that told a pid.
    pub(super) const fn sentry(&self) -> Option<Identity> {
        self.sentry
    }

    /// Whether the sentry can answer at all, as far as /proc tells.
    pub(super) fn look_at_sentry(&self) -> Sentry {
        let Some(known) = self.sentry else { return Sentry::Runs };
        match Stat::of(known.pid) {
            Ok(stat) if stat.identity != known || stat.is_dead() => Sentry::Dead,
            Ok(stat) if procfs::is_stopped(stat.state) => Sentry::Stopped,
            Err(error) if error.kind() == ErrorKind::NotFound => Sentry::Dead,
            // That it cannot be looked at says nothing of it.
            Ok(_) | Err(_) => Sentry::Runs,
        }
    }

    /// The first SIGKILLs, by what is held already: they need neither thread nor descriptor, nor any look.
    pub(super) fn send_sigkill(&self, step: &Step) {
        let doomed = match step {
            Step::KillSandbox => [None, self.sentry_fd.as_ref()],
            Step::KillAll => [self.real_shim_fd.as_ref(), self.sentry_fd.as_ref()],
            _ => [None; 2],
        };
        for process in doomed.into_iter().flatten() {
            if let Err(error) = process.send(Signal::SIGKILL) {
                log::warn!("guard: SIGKILL: {error}");
            }
        }
    }
}
