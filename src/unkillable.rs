//! Rung 6: what SIGKILL does not end (state D). Until it dies nothing is claimed that is not so: who waits for
//! the end goes on waiting, everyone else is told what is in the way. Meanwhile the guard takes from it what it
//! holds for others, and tries to free it, again and again: at once as long as it is not known whether what holds it up
//! hangs, then at ever longer intervals.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::admit::name;
use crate::call::Kind;
use crate::guard::{Guard, Phase};
use crate::hung::LOOK_AGAIN_AFTER;
use crate::io::{Answer, Note, ProcessId, RequestId, Rung};
use crate::policy::{FREE_AGAIN_AFTER, FREE_AGAIN_AFTER_AT_MOST, HOME, KILL_AGAIN_AFTER_AT_MOST, rungs};
use crate::refusal::Refusal;
use crate::time::Time;

/// What could not be killed.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    /// Words for each process.
    pub(crate) left: Vec<String>,
    /// When the next attempt is due, or the one under way counts as one that does not come back.
    due: Option<Time>,
    /// How long to wait after that one.
    pause: Duration,
    /// An attempt to free it is under way.
    freeing: bool,
    killing: Killing,
}

/// Whether it is known what rung 3 has killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killing {
    /// Yes: the death of what is left will be told.
    CameBack,
    /// No: it is taken again, and again.
    Lost,
}

/// What is said where rung 3 does not come back.
pub(crate) fn kill_lost() -> Vec<String> {
    Vec::from(["the sandbox: killing it has not come back, so that nobody knows what is left".into()])
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
    pub(crate) fn unkillable(&mut self, left: Vec<String>, killing: Killing) {
        let Phase::Ending(ladder) = &self.phase else { return };
        if self.is_leaving_the_node() {
            return self.leave();
        }
        let ladder = ladder.clone();
        let stuck = self.free(left.clone(), killing);
        self.enter(Phase::Unkillable(ladder, stuck));
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
    pub(crate) fn free(&mut self, left: Vec<String>, killing: Killing) -> Stuck {
        self.note(Note::Unkillable(left.clone()));
        self.rung(Rung::Free, rungs::FREE);
        let first = match killing {
            Killing::CameBack => rungs::FREE + HOME,
            Killing::Lost => FREE_AGAIN_AFTER,
        };
        Stuck { left, due: Some(self.now + first), pause: FREE_AGAIN_AFTER, freeing: true, killing }
    }

    /// An attempt is over. What has become free dies by itself, and that is an input of its own.
    pub(crate) fn freed(&mut self, left: Vec<String>, undecided: bool) {
        let now = self.now;
        let Some(stuck) = self.stuck_mut() else { return };
        if !left.is_empty() {
            stuck.left = left;
        }
        stuck.freeing = false;
        match stuck.killing {
            Killing::Lost => return,
            Killing::CameBack if undecided => stuck.due = Some(now + LOOK_AGAIN_AFTER),
            Killing::CameBack => {
                stuck.due = Some(now + stuck.pause);
                stuck.pause = (stuck.pause * 2).min(FREE_AGAIN_AFTER_AT_MOST);
            }
        }
        self.arm_step();
    }

    /// The next attempt, when it is due.
    pub(crate) fn free_again(&mut self) {
        let now = self.now;
        let Some(stuck) = self.stuck_mut().filter(|stuck| stuck.due.is_some_and(|due| due <= now)) else {
            return;
        };
        match (stuck.killing, stuck.freeing) {
            // What hangs is not joined by more of its kind often.
            (Killing::Lost, _) => {
                stuck.pause = (stuck.pause * 2).min(KILL_AGAIN_AFTER_AT_MOST);
                stuck.due = Some(now + stuck.pause);
                self.rung(Rung::KillAll, rungs::KILL_ALL);
            }
            (Killing::CameBack, true) => {
                stuck.due = None;
                stuck.left.push("freeing it has not come back either: what looks at it hangs".into());
            }
            (Killing::CameBack, false) => {
                (stuck.due, stuck.freeing) = (Some(now + rungs::FREE + HOME), true);
                self.rung(Rung::Free, rungs::FREE);
            }
        }
        self.arm_step();
    }

    /// Whether a rung 3 that was given up may still come back.
    pub(crate) fn waits_for_kill(&self) -> bool {
        self.stuck().is_some_and(|stuck| stuck.killing == Killing::Lost)
    }

    /// Rung 3 has come back after all. What it could not kill is waited for, as ever.
    pub(crate) fn kill_came_back(&mut self, left: Vec<String>, at_ns: u64) {
        let now = self.now;
        let ladder = match &self.phase {
            Phase::Unkillable(ladder, _) if left.is_empty() => Some(ladder.clone()),
            _ => None,
        };
        if let Some(ladder) = ladder {
            self.enter(Phase::Ending(ladder));
            return self.all_dead(at_ns);
        }
        let Some(stuck) = self.stuck_mut() else { return };
        (stuck.left, stuck.killing, stuck.pause) = (left, Killing::CameBack, FREE_AGAIN_AFTER);
        stuck.due = Some(now + FREE_AGAIN_AFTER);
        self.arm_step();
    }
}
