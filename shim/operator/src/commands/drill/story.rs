//! What happens, as it happens: a line each for people, all of it at the end for programs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::Form;
use crate::paint;
use crate::screen;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    /// Since the drill began.
    at_ms: u64,
    /// In words.
    what: String,
}

/// All of them.
pub(super) struct Story {
    begun: Instant,
    form: Form,
    moments: Mutex<Vec<Moment>>,
}

impl Story {
    /// From now on.
    pub(super) fn begin(form: Form) -> Self {
        Self { begun: Instant::now(), form, moments: Mutex::default() }
    }

    /// Something happened.
    pub(super) fn tell(&self, what: &str) {
        let at = self.begun.elapsed();
        self.print(&format!("{:>8}  {}", seconds(at), paint::plain(what)));
        let moment = Moment { at_ms: ms(at), what: what.to_owned() };
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).push(moment);
    }

    /// A line without a time, for people only.
    pub(super) fn print(&self, line: &str) {
        if self.form == Form::Text {
            screen::say(line);
        }
    }

    /// What has happened.
    pub(super) fn moments(&self) -> Vec<Moment> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `11.2s`.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.1}s", span.as_secs_f64())
}

/// In milliseconds.
pub(super) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
