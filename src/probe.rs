//! Asking the sentry past the real shim, while a deadline runs whose judgement needs the answer.
//!
//! Silent is a measurement over seconds, never a slow disk: [`QUESTIONS`] questions of [`QUESTION`] each over at least
//! [`SILENCE`], none answered, and each time /proc showed the sentry stopped, frozen or idle. One answer in between,
//! or one sign that it is only slow, and the measurement begins anew. A question that does not come back was not
//! asked: it proves nothing, and holds up nothing.

use crate::clocks::Deadline;
use crate::guard::{Guard, Phase};
use crate::io::{Heard, Output, ProcessId};
use crate::policy::{HOME, PACE, QUESTION, QUESTIONS, SILENCE, VERDICT};
use crate::stake::Stake;
use crate::task::Clock;
use crate::time::Time;
use crate::timers::Timer;

/// How far the asking has come.
#[derive(Debug, Default)]
pub(crate) enum Probing {
    /// Nobody has asked.
    #[default]
    Idle,
    /// A question is out, until then at the latest.
    Asking(Silence, Time),
    /// The next question may be asked then.
    Pausing(Silence, Time),
    /// It answered this, at this time; nothing only after it had been silent for as long as counts.
    Told(Heard, Time),
}

/// Questions in a row that were not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    /// When the first was asked.
    since: Time,
    /// When the last was asked.
    asked: Time,
    /// How many were not answered.
    questions: u32,
}

/// What the questions say to one clock. What was known before they were asked for it is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Out,
    /// The sentry answers, or is slow.
    Answers,
    /// It is silent.
    Silent,
}

impl Guard {
    /// In a paused sandbox a SIGKILL stays without effect (gVisor pkg/sentry/kernel/task_exit.go): a container for
    /// which that is waited for has no use of its answers. A container that lives on has.
    pub(crate) fn verdict(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Verdict {
        match self.heard_since(self.asked_from(which, clock)) {
            Some((Heard::Answers | Heard::Slow, _)) => Verdict::Answers,
            Some((Heard::Paused, _)) if self.stake(id, which) == Stake::Container => Verdict::Answers,
            Some((Heard::Paused | Heard::Nothing, _)) => Verdict::Silent,
            None => Verdict::Out,
        }
    }

    /// What was heard at `since` or later, and when.
    pub(crate) fn heard_since(&self, since: Time) -> Option<(Heard, Time)> {
        match self.probing {
            Probing::Told(heard, at) if at >= since => Some((heard, at)),
            _ => None,
        }
    }

    /// From when on the sentry is asked for this clock: so early that the verdict is in at the deadline, so late that
    /// it is fresh then. Once spared, when somebody asked again.
    pub(crate) fn asked_from(&self, which: Deadline, clock: &Clock) -> Time {
        clock.asks.unwrap_or(clock.since + self.limit(which).saturating_sub(VERDICT))
    }

    /// When the next question is to be asked for this clock.
    pub(crate) fn question_due(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let closed = clock.spared && clock.asks.is_none();
        if closed || !self.stake(id, which).needs_verdict() || self.is_busy_with(id) {
            return None;
        }
        let from = self.asked_from(which, clock);
        match (self.heard_since(from), &self.probing) {
            (Some((Heard::Slow, at)), _) if !clock.spared => {
                let again = at + PACE;
                (again < clock.since + self.limit(which)).then_some(again)
            }
            (Some(_), _) | (None, Probing::Asking(..)) => None,
            (None, Probing::Pausing(_, next)) => Some(from.max(*next)),
            (None, _) => Some(from),
        }
    }

    pub(crate) fn ask_if_due(&mut self, id: &ProcessId, which: Deadline, clock: &Clock) {
        if self.question_due(id, which, clock).is_some_and(|due| due <= self.now) {
            self.ask_sentry();
        }
        self.greet_if_due(id, which, clock);
    }

    /// Asks the next question; one that is asked long after the last begins a new measurement.
    pub(crate) fn ask_sentry(&mut self) {
        let now = self.now;
        let silence = match self.probing {
            Probing::Pausing(silence, next) if now <= next + PACE => Silence { asked: now, ..silence },
            _ => Silence { since: now, asked: now, questions: 0 },
        };
        self.set_probing(Probing::Asking(silence, now + QUESTION + HOME));
        self.output(Output::Probe(QUESTION));
    }

    pub(crate) fn probed(&mut self, heard: Heard) {
        let now = self.now;
        let probing = match (&self.probing, heard) {
            (_, _) if !matches!(self.phase, Phase::Open) => Probing::Idle,
            (Probing::Asking(silence, _), Heard::Nothing) => {
                let silence = Silence { questions: silence.questions + 1, ..*silence };
                if silence.questions >= QUESTIONS && now >= silence.since + SILENCE {
                    Probing::Told(heard, now)
                } else {
                    Probing::Pausing(silence, (silence.asked + PACE).max(now))
                }
            }
            // Of a question that was given up. An answer is one, however late.
            (_, Heard::Nothing) => return,
            _ => Probing::Told(heard, now),
        };
        self.set_probing(probing);
        self.judge_clocks();
        self.watch_if_due();
    }

    fn set_probing(&mut self, probing: Probing) {
        self.probing = probing;
        self.timers.set(Timer::ProbeLost, self.question_lost_at());
    }

    /// When the question that is out has to have come back.
    fn question_lost_at(&self) -> Option<Time> {
        match self.probing {
            Probing::Asking(_, until) => Some(until),
            _ => None,
        }
    }

    /// A question has not come back: nobody was asked, so nobody failed to answer.
    pub(crate) fn lose_question(&mut self) {
        self.set_probing(Probing::Told(Heard::Slow, self.now));
    }
}
