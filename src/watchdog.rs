//! The watchdog: a sandbox that stops answering although nobody wants its end.
//!
//! It asks nothing by itself, so it costs nothing while all is well. Its first sign is something of containerd's
//! that the real shim has not answered in its time (State, Stats, Pids, Start, Exec and their kin), or a State that
//! found the sentry stopped. From then `watchdog_after` runs, until something is answered that takes the sentry.
//! Only when it has run out is the sentry asked past the real shim (`probe`): one that answers is left alone, be it
//! paused on purpose, or hidden behind a real shim that a slow Create keeps busy. One that does not is reported
//! once, or ended.

use crate::call::{Call, Kind};
use crate::guard::{Guard, Phase};
use crate::io::{Heard, Note, Outcome, ProcessId, Rung, Status, Told, Why};
use crate::policy::{Watchdog, rungs};
use crate::probe::Probing;
use crate::task::Life;
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

    /// The real shim has answered: where that took the sentry, it is heard. (Of what has stopped, and of an exec, the
    /// real shim knows the state without asking; see gvisor-contract, section 2.)
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

    /// When the silence has lasted too long. While the sentry is being asked its answer comes first.
    pub(crate) fn watch_due(&self) -> Option<Time> {
        let Watch::Suspects(since) = self.watch else { return None };
        let root = &self.tasks.0.get(&self.sandbox)?.init;
        let runs = root.life == Life::Started && root.exit.is_none();
        let asking = matches!(self.probing, Probing::Asking(_));
        (runs && !asking).then(|| since + self.policy.watchdog_after)
    }

    pub(crate) fn watch_if_due(&mut self) {
        let Watch::Suspects(since) = self.watch else { return };
        let Some(due) = self.watch_due().filter(|due| *due <= self.now) else { return };
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        match self.heard_since(due) {
            None => self.probe(0),
            Some(Heard::Answers | Heard::Slow | Heard::Paused) => self.hear(),
            Some(Heard::Nothing) if self.policy.watchdog == Watchdog::Kill => {
                self.escalate(Why::Silent, since);
            }
            Some(Heard::Nothing) => {
                self.watch = Watch::Reported(since);
                self.note(Note::Silent(self.now - since));
                self.rung(Rung::Watch, rungs::EVIDENCE);
            }
        }
    }
}
