//! Asking the sentry past the real shim: a bounded `runsc state` of the root container, up to three times,
//! while a deadline runs whose judgement needs the answer.

use core::time::Duration;

use crate::clocks::Deadline;
use crate::guard::{Guard, Phase};
use crate::io::{Heard, Output, ProcessId};
use crate::policy::{PROBE_TIMEOUT, PROBES};
use crate::task::Clock;
use crate::time::Time;

/// How far the asking has come.
#[derive(Debug, Default)]
pub(crate) enum Probing {
    /// Nobody has asked.
    #[default]
    Idle,
    /// A probe runs; this many failed before it.
    Asking(u32),
    /// It answered this, at this time; nothing only after it had failed as often as counts.
    Told(Heard, Time),
}

/// What the probes say to one clock. What was known before it started is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Out,
    /// The sentry answers.
    Answers,
    /// It does not.
    Silent,
}

impl Guard {
    /// In a paused sandbox a SIGKILL stays without effect (gVisor pkg/sentry/kernel/task_exit.go): for whom that is
    /// waited for, it does not answer.
    pub(crate) fn verdict(&self, clock: &Clock) -> Verdict {
        match self.heard_since(clock.since) {
            Some(Heard::Answers | Heard::Slow) => Verdict::Answers,
            Some(Heard::Paused | Heard::Nothing) => Verdict::Silent,
            None => Verdict::Out,
        }
    }

    /// What was heard at `since` or later.
    pub(crate) fn heard_since(&self, since: Time) -> Option<Heard> {
        match self.probing {
            Probing::Told(heard, at) if at >= since => Some(heard),
            _ => None,
        }
    }

    /// Whether a clock's judgement depends on what the probes say: not where the sandbox ends anyway, nor
    /// where the real shim has not even answered the SIGKILL.
    pub(crate) fn needs_verdict(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> bool {
        let unheard = which == Deadline::Kill && !clock.acknowledged && !self.behind_a_create(id);
        !self.is_root(id) && !clock.spared && !unheard && !self.root_is_ending()
    }

    /// When the sentry is to be asked for this clock: so late that the answer is fresh at the deadline, so
    /// early that asking costs no time.
    pub(crate) fn probe_due(&self, id: &ProcessId, which: Deadline, clock: &Clock) -> Option<Time> {
        let asking = matches!(self.probing, Probing::Asking(_));
        let answered = self.verdict(clock) != Verdict::Out;
        if asking || answered || clock.spared || self.is_root(id) || self.root_is_ending() {
            return None;
        }
        let limit = self.limit(which);
        let latest = limit.saturating_sub(self.probe_timeout() * (PROBES + 1));
        Some(clock.since + latest.max(limit / 5))
    }

    pub(crate) fn probe_if_due(&mut self, id: &ProcessId, which: Deadline, clock: &Clock) {
        if self.probe_due(id, which, clock).is_some_and(|due| due <= self.now) {
            self.probe(0);
        }
    }

    fn probe_timeout(&self) -> Duration {
        PROBE_TIMEOUT.min(self.policy.kill_deadline.min(self.policy.delete_deadline) / 4)
    }

    pub(crate) fn probe(&mut self, failed: u32) {
        self.probing = Probing::Asking(failed);
        self.output(Output::Probe(self.probe_timeout()));
    }

    pub(crate) fn probed(&mut self, heard: Heard) {
        let Probing::Asking(failed) = self.probing else { return };
        let failed = failed + 1;
        if heard != Heard::Nothing || failed >= PROBES {
            self.probing = Probing::Told(heard, self.now);
        } else if matches!(self.phase, Phase::Open) {
            return self.probe(failed);
        } else {
            self.probing = Probing::Idle;
        }
        self.judge_if_due();
    }
}
