//! The present, without the time in which the guard itself did not run (rule 7).

use core::time::Duration;

use crate::policy::LATENESS;
use crate::time::Time;

/// How long a guard that woke up late may take to read what came meanwhile; less than the slack on the wire.
const READING: Duration = Duration::from_millis(50);

/// What time it is for the state machine.
#[derive(Debug, Default)]
pub(crate) struct Present {
    now: Time,
    /// The time in which the guard itself did not run.
    lost: Duration,
    /// When the guard was last on time: what comes in now may have come as early as that.
    on_time: Time,
    /// Until then it reads what came before it woke up.
    reads_until: Time,
    /// Nothing is judged before: after a sleep of the guard, the answers that came meanwhile are read first.
    not_before: Time,
}

impl Present {
    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    pub(crate) const fn on_time(&self) -> Time {
        self.on_time
    }

    /// Whether deadlines may be judged.
    pub(crate) fn may_judge(&self) -> bool {
        self.now >= self.not_before
    }

    /// The present at `now` of the driver's clock.
    pub(crate) fn at(&self, now: Time) -> Time {
        Time(now - Time(self.lost)).max(self.now)
    }

    /// On the driver's clock: when something that is due at `at` may be judged.
    pub(crate) fn on_drivers_clock(&self, at: Time) -> Time {
        at.max(self.not_before) + self.lost
    }

    /// Moves the present to `now` of the driver's clock, where `first` is due next. A wake-up much too late moves every
    /// open deadline, and leaves time to read the answers that came meanwhile; by how much too late it was.
    pub(crate) fn advance(&mut self, now: Time, first: Option<Time>) -> Option<Duration> {
        let here = self.at(now);
        // What the last input has made due at once was not due before it.
        let late = first.map_or(Duration::ZERO, |due| here - due.max(self.not_before).max(self.now));
        let lost = late > LATENESS;
        if lost {
            self.now = Time(here - Time(late + LATENESS)).max(self.now);
            self.lost = now - self.now;
            self.not_before = self.now + LATENESS;
        } else {
            self.now = here;
        }
        match first {
            Some(due) if due < self.now => {
                self.on_time = self.on_time.max(due);
                self.reads_until = self.now + READING;
            }
            _ if self.now >= self.reads_until => self.on_time = self.now,
            _ => {}
        }
        lost.then_some(late)
    }
}
