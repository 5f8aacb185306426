//! What is said while a sandbox is being ended, and how that ended.

use std::thread;
use std::time::{Duration, Instant};

use crate::paint::{self, span};
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
pub(super) struct Progress {
    name: String,
    begun: Instant,
}

impl Progress {
    /// Of a sandbox, from now on.
    pub(super) fn new(sandbox: &Sandbox) -> Self {
        let id = &sandbox.found.id;
        Self { name: id.get(..13).unwrap_or(id).to_owned(), begun: Instant::now() }
    }

    /// One line.
    pub(super) fn line(&self, what: &str, more: &str) {
        let at = span(self.begun.elapsed());
        let more = if more.is_empty() { String::new() } else { format!(": {}", paint::plain(more)) };
        anstream::println!("{}  {at:>6}  {what}{more}", self.name);
    }
}

/// Looks until it is so, or `limit` has passed; tells which.
pub(super) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
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
