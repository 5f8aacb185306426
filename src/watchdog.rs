//! The watchdog: a sandbox that stops answering although nobody wants its end.
//!
//! It asks nothing by itself, so it costs nothing while all is well. Its first sign is something of containerd's
//! that the real shim has not answered in its time (State, Stats, Pids, Start, Exec and their kin), or a State that
//! found the sentry stopped. From then `watchdog_after` runs, until something is answered that takes the sentry.
//! Only when it has almost run out is the sentry asked past the real shim (`probe`): one that answers, or is only slow,
//! is left alone, be it paused or checkpointed on purpose, starved, or hidden behind a real shim that a slow Create
//! keeps busy. One that is silent is reported once, or ended.

use crate::call::{Call, Kind};
use crate::guard::{Guard, Phase};
use crate::io::{Heard, Note, Outcome, ProcessId, Rung, Status, Told, Why};
use crate::policy::{VERDICT, Watchdog, rungs};
use crate::probe::Probing;
use crate::task::{Life, Process};
use crate::time::Time;

/// What the watchdog thinks of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing has spoken against it since then.
    Quiet(Time),
    /// Something has been unanswered since then.
    Suspects(Time),
    /// The same, and it has been reported.
    Reported(Time),
}

impl Guard {
    /// Something that was asked at `since` has not been answered in its time.
    pub(crate) fn suspect(&mut self, since: Time) {
        if let (Watch::Quiet(heard), true) = (self.watch, self.policy.watchdog != Watchdog::Off) {
            self.watch = Watch::Suspects(since.max(heard));
        }
    }

    /// An answer is due. A caller's own short timeout says nothing about the real shim.
    pub(crate) fn suspect_if_late(&mut self, kind: Kind, process: &ProcessId, since: Time) {
        let now = self.now;
        let (asked, limit) = match kind {
            Kind::State | Kind::Pids | Kind::Stats => {
                (self.ask(kind, process).map(|ask| ask.sent), self.question_limit(kind))
            }
            Kind::Start if process.is_init() => (Some(since), self.policy.start_deadline),
            Kind::Start | Kind::Exec | Kind::Plain(_) => (Some(since), self.policy.exec_deadline),
            _ => return,
        };
        if let Some(asked) = asked.filter(|asked| now >= *asked + limit) {
            self.suspect(asked);
        }
    }

    /// A question about what runs is answered with errors.
    pub(crate) fn suspect_failing(&mut self, process: &ProcessId, since: Time) {
        let runs = |known: &Process| known.life == Life::Started && known.exit.is_none();
        if process.is_init() && self.tasks.get(process).is_some_and(runs) {
            self.suspect(since);
        }
    }

    /// The real shim has answered: where that took the sentry, it is heard. (Of what has stopped, and of an exec, the
    /// real shim knows the state without running runsc.)
    pub(crate) fn listen(&mut self, call: &Call, outcome: &Outcome) {
        let heard = match (call.kind, outcome) {
            (Kind::State, Outcome::Done(Told::State { status, .. })) => {
                call.process.is_init() && *status != Status::Stopped
            }
            (Kind::Pids | Kind::Stats | Kind::Start, Outcome::Done(_)) => true,
            _ => false,
        };
        if heard {
            self.hear();
        }
    }

    fn hear(&mut self) {
        if let Watch::Reported(since) = self.watch {
            self.note(Note::Heard(self.now - since));
        }
        self.watch = Watch::Quiet(self.now);
    }

    /// When the silence has lasted too long, and when the next question about it may be asked: so early that the verdict
    /// is in by then. While one is out its answer comes first.
    pub(crate) fn watch_due(&self) -> Option<Time> {
        let Watch::Suspects(since) = self.watch else { return None };
        let root = &self.tasks.0.get(&self.sandbox)?.init;
        if root.life != Life::Started || root.exit.is_some() {
            return None;
        }
        let from = self.watched_from(since);
        match (self.heard_since(from), &self.probing) {
            (Some((Heard::Nothing, _)), _) => Some(since + self.policy.watchdog_after),
            (Some(_), _) => Some(from),
            (None, Probing::Asking(..)) => None,
            (None, Probing::Pausing(_, next)) => Some(from.max(*next)),
            (None, Probing::Idle | Probing::Told(..)) => Some(from),
        }
    }

    fn watched_from(&self, since: Time) -> Time {
        since + self.policy.watchdog_after.saturating_sub(VERDICT)
    }

    pub(crate) fn watch_if_due(&mut self) {
        let Watch::Suspects(since) = self.watch else { return };
        if self.watch_due().is_none_or(|due| due > self.now) || !matches!(self.phase, Phase::Open) {
            return;
        }
        match self.heard_since(self.watched_from(since)) {
            None => self.ask_sentry(),
            Some((Heard::Answers | Heard::Slow | Heard::Paused, _)) => self.hear(),
            Some((Heard::Nothing, _)) if self.policy.watchdog == Watchdog::Kill => {
                self.escalate(Why::Silent, since);
            }
            Some((Heard::Nothing, _)) => {
                self.watch = Watch::Reported(since);
                self.note(Note::Silent(self.now - since));
                self.rung(Rung::Watch, rungs::EVIDENCE);
            }
        }
    }
}
