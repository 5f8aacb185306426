//! What is said while a sandbox is being ended, and how that ended.

use std::thread;
use std::time::{Duration, Instant};

use crate::paint::{self, span};
use crate::screen;
use crate::survey::model::Sandbox;

/// How one ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// What is left, in words.
    pub(super) left: Vec<String>,
    /// What comes next, or who does the rest.
    pub(super) note: String,
}

/// A line per step, with the time that it took.
pub(super) enum Progress<'a> {
    /// Printed, for this sandbox, since then.
    Printed(String, Instant),
    /// Told to a command that ends a sandbox of its own.
    Told(&'a dyn Fn(&str)),
}

impl<'a> Progress<'a> {
    /// Of a sandbox, from now on.
    pub(super) fn of(sandbox: &Sandbox) -> Self {
        Self::Printed(screen::short_id(&sandbox.found.id).to_owned(), Instant::now())
    }

    /// To whom it is told.
    pub(super) fn told(tell: &'a dyn Fn(&str)) -> Self {
        Self::Told(tell)
    }

    /// One line.
    pub(super) fn line(&self, what: &str, more: &str) {
        let more = if more.is_empty() { String::new() } else { format!(": {}", paint::plain(more)) };
        match self {
            Self::Printed(name, begun) => {
                screen::say(&format!("{name}  {:>6}  {what}{more}", span(begun.elapsed())));
            }
            Self::Told(tell) => tell(&format!("{what}{more}")),
        }
    }
}

/// Looks until it is so, or `limit` has passed; tells which.
pub(crate) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    /// How often is looked.
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}
