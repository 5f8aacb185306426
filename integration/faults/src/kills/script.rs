//! What a life goes through, and when its guard is to die.

use harness::Random;
use std::{
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// A kind of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// A pod of two containers by CRI, or a container by ctr.
    pub(super) pod: bool,
    /// Its sentry is stopped before the end.
    pub(super) wedged: bool,
}

impl Kind {
    pub(super) fn any(random: &mut Random) -> Self {
        Self { pod: random.fraction() < 0.3, wedged: random.fraction() < 0.3 }
    }

    pub(super) fn name(self) -> String {
        let what = if self.pod { "pod" } else { "container" };
        format!("{what}, {}", if self.wedged { "wedged" } else { "healthy" })
    }

    /// What a script of this kind goes through.
    pub(super) fn steps(self) -> &'static [&'static str] {
        if self.pod {
            &["start", "create", "start", "exec", "stop", "stop", "remove"]
        } else {
            &["start", "exec", "kill", "delete", "delete"]
        }
    }
}

/// When the guard is to die: some time into a step.
pub(super) struct Moment {
    pub(super) step: &'static str,
    pub(super) after: Duration,
}

impl Moment {
    pub(super) fn any(kind: Kind, random: &mut Random) -> Self {
        let steps = kind.steps();
        let step = steps[(random.fraction() * steps.len() as f64) as usize];
        // How long a step takes, or an escalation.
        let ends = matches!(step, "kill" | "delete" | "stop");
        let span = Duration::from_millis(if kind.wedged && ends { 3000 } else { 250 });
        Self { step, after: span.mul_f64(random.fraction()) }
    }
}

/// What the script does now, for the killer to tell, and whether it may fail by now.
pub(super) struct Stage {
    pub(super) step: Mutex<&'static str>,
    pub(super) over: AtomicBool,
    pub(super) killed: AtomicBool,
}

impl Stage {
    pub(super) fn new(step: &'static str) -> Self {
        Self { step: Mutex::new(step), over: AtomicBool::new(false), killed: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(super) fn step(&self) -> &'static str {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
