//! Asking the sentry past the real shim, while a deadline runs whose judgement needs the answer.
//!
//! Silent is a measurement over seconds, never a slow disk: [`QUESTIONS`] questions of [`QUESTION`] each over at least
//! [`SILENCE`], none answered, and each time /proc showed the sentry stopped, frozen or idle. One answer in between,
//! or one sign that it is only slow, and the measurement begins anew. A question that does not come back was not
//! asked: it proves nothing, and holds up nothing.

use crate::io::ProbeResult;
use crate::policy::{HOME, PACE, QUESTION, QUESTIONS, SILENCE};
use crate::time::Time;

/// How far the asking has come.
#[derive(Debug, Default)]
pub(crate) struct Probe(Progress);

#[derive(Debug, Default)]
enum Progress {
    /// Nobody has asked.
    #[default]
    Idle,
    /// A question is out, until then at the latest.
    Asking(Silence, Time),
    /// The next question may be asked then.
    Pausing(Silence, Time),
    /// It answered this, at this time; nothing only after it had been silent for as long as counts.
    Answered(ProbeResult, Time),
}

/// Questions in a row that were not answered.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// When the first was asked.
    since: Time,
    /// When the last was asked.
    asked: Time,
    /// How many were not answered.
    questions: u32,
}

impl Probe {
    /// What was heard at `since` or later, and when.
    pub(crate) fn heard_since(&self, since: Time) -> Option<(ProbeResult, Time)> {
        match self.0 {
            Progress::Answered(heard, at) if at >= since => Some((heard, at)),
            _ => None,
        }
    }

    /// When the next question is to be asked for somebody who needs an answer of `from` or later; none while one is out.
    pub(crate) fn question_due(&self, from: Time) -> Option<Time> {
        match self.0 {
            Progress::Asking(..) => None,
            Progress::Pausing(_, next) => Some(from.max(next)),
            Progress::Idle | Progress::Answered(..) => Some(from),
        }
    }

    /// The next question is asked; one that is asked long after the last begins a new measurement.
    pub(crate) fn ask(&mut self, now: Time) {
        let silence = match self.0 {
            Progress::Pausing(silence, next) if now <= next + PACE => Silence { asked: now, ..silence },
            _ => Silence { since: now, asked: now, questions: 0 },
        };
        self.0 = Progress::Asking(silence, now + QUESTION + HOME);
    }

    /// What a question has shown; false if that says nothing. An answer is one, however late.
    pub(crate) fn hear(&mut self, heard: ProbeResult, now: Time) -> bool {
        self.0 = match (&self.0, heard) {
            (Progress::Asking(silence, _), ProbeResult::Nothing) => {
                let silence = Silence { questions: silence.questions + 1, ..*silence };
                if silence.questions >= QUESTIONS && now >= silence.since + SILENCE {
                    Progress::Answered(heard, now)
                } else {
                    Progress::Pausing(silence, (silence.asked + PACE).max(now))
                }
            }
            // Of a question that was given up.
            (_, ProbeResult::Nothing) => return false,
            (_, ProbeResult::Answers | ProbeResult::Paused | ProbeResult::Slow) => {
                Progress::Answered(heard, now)
            }
        };
        true
    }

    /// When the question that is out has to have come back.
    pub(crate) const fn lost_at(&self) -> Option<Time> {
        match self.0 {
            Progress::Asking(_, until) => Some(until),
            _ => None,
        }
    }

    /// A question has not come back: nobody was asked, so nobody failed to answer.
    pub(crate) const fn lose(&mut self, now: Time) {
        self.0 = Progress::Answered(ProbeResult::Slow, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MOMENT: Duration = Duration::from_millis(1);

    fn unanswered(probe: &mut Probe, at: Time) {
        probe.ask(at);
        assert!(probe.hear(ProbeResult::Nothing, at));
    }

    fn is_silent(probe: &Probe) -> bool {
        probe.heard_since(Time::default()).is_some_and(|(heard, _)| heard == ProbeResult::Nothing)
    }

    #[test]
    fn silence_takes_as_many_questions_and_as_long() {
        let begun = Time(Duration::from_secs(1));
        let (mut hurried, mut seldom, mut silent) = (Probe::default(), Probe::default(), Probe::default());
        for _ in 0..QUESTIONS {
            unanswered(&mut hurried, begun);
        }
        assert!(!is_silent(&hurried), "in no time");
        seldom.ask(begun);
        assert!(seldom.hear(ProbeResult::Nothing, begun + SILENCE) && !is_silent(&seldom), "by one question");
        for question in 1..QUESTIONS {
            unanswered(&mut silent, begun + PACE * (question - 1));
        }
        silent.ask(begun + PACE * (QUESTIONS - 1));
        assert!(silent.hear(ProbeResult::Nothing, begun + SILENCE) && is_silent(&silent));
    }

    #[test]
    fn a_question_long_after_the_last_begins_anew() {
        let begun = Time(Duration::from_secs(1));
        for (late, counts) in [(Duration::ZERO, true), (MOMENT, false)] {
            let mut probe = Probe::default();
            let mut at = begun;
            for _ in 1..QUESTIONS {
                unanswered(&mut probe, at);
                at = at + PACE * 2 + late;
            }
            probe.ask(at);
            assert!(probe.hear(ProbeResult::Nothing, at.max(begun + SILENCE)));
            assert_eq!(is_silent(&probe), counts, "{late:?}");
        }
    }
}
