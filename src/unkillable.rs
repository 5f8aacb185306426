//! Rung 6: what SIGKILL does not end (state D). Until it dies nothing is claimed that is not so: who waits for
//! the end goes on waiting, everyone else is told what is in the way. Meanwhile the guard takes from it what it
//! holds for others, and tries to free it, again and again at ever longer intervals.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::Kind;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Note, ProcessId, RequestId, Rung};
use crate::policy::{FREE_AGAIN_AFTER, FREE_AGAIN_AFTER_AT_MOST, rungs};
use crate::refusal::Refusal;
use crate::time::Time;

/// What could not be killed.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    /// Words for each process.
    pub(crate) left: Vec<String>,
    /// When the next attempt to free it is due; none while one is under way.
    due: Option<Time>,
    /// How long to wait after that one.
    pause: Duration,
}

impl Stuck {
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }
}

impl Guard {
    /// What is stuck now: during the ladder, or on the way out.
    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        match &self.phase {
            Phase::Unkillable(_, stuck) => Some(stuck),
            Phase::Closing(closing) => closing.stuck.as_ref(),
            _ => None,
        }
    }

    fn stuck_mut(&mut self) -> Option<&mut Stuck> {
        match &mut self.phase {
            Phase::Unkillable(_, stuck) => Some(stuck),
            Phase::Closing(closing) => closing.stuck.as_mut(),
            _ => None,
        }
    }

    /// Rung 3 could not kill these.
    pub(crate) fn unkillable(&mut self, left: Vec<String>) {
        let Phase::Ending(ladder) = &self.phase else { return };
        let ladder = ladder.clone();
        let stuck = self.free(left.clone());
        self.phase = Phase::Unkillable(ladder, stuck);
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.kind != Kind::Wait);
        let waiting: Vec<(RequestId, Kind, ProcessId)> =
            waiting.map(|(id, waiting)| (*id, waiting.kind, waiting.process.clone())).collect();
        for (request, kind, process) in waiting {
            let answer = self.late_answer(kind, &process, self.now);
            let known = matches!(answer, Answer::State { .. } | Answer::Pids(_) | Answer::Done);
            let refusal =
                Refusal::Unkillable { method: kind.method(), id: name(&process), left: left.clone() };
            self.reply(request, if known { answer } else { Answer::Refused(refusal) });
        }
    }

    /// The first attempt.
    pub(crate) fn free(&mut self, left: Vec<String>) -> Stuck {
        self.note(Note::Unkillable(left.clone()));
        self.rung(Rung::Free, rungs::FREE);
        Stuck { left, due: None, pause: FREE_AGAIN_AFTER }
    }

    /// An attempt is over. What has become free dies by itself, and that is an input of its own.
    pub(crate) fn freed(&mut self, left: Vec<String>) {
        let now = self.now;
        let Some(stuck) = self.stuck_mut() else { return };
        if !left.is_empty() {
            stuck.left = left;
        }
        stuck.due = Some(now + stuck.pause);
        stuck.pause = (stuck.pause * 2).min(FREE_AGAIN_AFTER_AT_MOST);
    }

    /// The next attempt, when it is due.
    pub(crate) fn free_again(&mut self) {
        let now = self.now;
        let Some(stuck) = self.stuck_mut().filter(|stuck| stuck.due.is_some_and(|due| due <= now)) else {
            return;
        };
        stuck.due = None;
        self.rung(Rung::Free, rungs::FREE);
    }
}
