//! The fake kernel: what the rungs of the ladder do to the fake sandbox.

use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

use crate::exit::REAL_SHIM_LOST_IT;
use crate::io::{Heard, Input, ProcessId, Rung, RungDone};
use crate::tests::fake::{Fakes, Soon, fail, ms};
use crate::tests::on::Lost;

/// Every step, by its name.
pub(crate) const RUNGS: [Rung; 8] = [
    Rung::Evidence,
    Rung::KillSandbox,
    Rung::KillAll,
    any_kill_create(),
    Rung::Release,
    any_release_one(),
    Rung::Free,
    Rung::Watch,
];

/// How the fake kernel treats a rung.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lasts {
    /// Done after this time.
    For(Duration),
    /// It never comes back.
    Forever,
}

impl Fakes {
    /// runsc is killed under the real shim: what hung fails.
    fn runsc_killed(&mut self) -> Soon {
        let hanging = core::mem::take(&mut self.hanging);
        hanging.into_iter().flat_map(|call| fail(call, ms(1))).collect()
    }

    pub(crate) fn rung(&mut self, rung: &Rung) -> Soon {
        let name = rung.as_str();
        assert!(RUNGS.iter().any(|one| one.as_str() == name), "{name} is not among what is lost");
        let Lasts::For(takes) = self.rungs.get(name).copied().unwrap_or(Lasts::For(ms(50))) else {
            self.lost.insert(Lost::Step(name));
            return Vec::new();
        };
        let mut soon = Soon::new();
        let done = match rung {
            Rung::Evidence => RungDone::Evidence,
            Rung::KillSandbox => {
                soon.extend(self.runsc_killed());
                let ids: Vec<ProcessId> = self.processes.keys().cloned().collect();
                if self.reports && !self.mute && self.unkillable.is_empty() {
                    soon.extend(ids.iter().flat_map(|id| self.exit(id, REAL_SHIM_LOST_IT, takes + ms(5))));
                }
                RungDone::SandboxKilled { left: self.unkillable.clone(), mute: self.mute }
            }
            Rung::KillAll => {
                if !core::mem::replace(&mut self.shim_dead, true) {
                    soon.push((takes, Input::RealShimExited));
                }
                let at_ns = self.epoch_ns + 100;
                RungDone::AllKilled { left: self.unkillable.clone(), at_ns }
            }
            Rung::KillCreate(container) => {
                soon.extend(self.runsc_killed());
                RungDone::CreateKilled { container: container.clone(), stuck: "pipe_read".to_string() }
            }
            Rung::Watch => RungDone::Watched,
            Rung::ReleaseOne(container) => {
                let (left, at_ns) = (self.residue.clone(), self.epoch_ns + 100);
                RungDone::ReleasedOne { container: container.clone(), left, at_ns }
            }
            Rung::Release => RungDone::Released { left: self.residue.clone() },
            Rung::Free => {
                if self.free_works && !self.unkillable.is_empty() {
                    self.unkillable.clear();
                    soon.push((takes + ms(5), Input::RemnantsDied));
                }
                RungDone::Freed { left: self.unkillable.clone(), undecided: self.undecided }
            }
        };
        soon.push((takes, Input::Rung(done)));
        soon
    }

    pub(crate) fn probe(&mut self, timeout: Duration) -> Soon {
        let (takes, heard) = match self.sentry {
            Hears::Answers(after) if after < timeout => (after, Heard::Answers),
            Hears::Answers(_) | Hears::Slow => (timeout, Heard::Slow),
            Hears::Paused => (ms(1), Heard::Paused),
            Hears::Nothing => (timeout, Heard::Nothing),
            Hears::Lost => {
                self.lost.insert(Lost::Probe);
                return Vec::new();
            }
        };
        Vec::from([(takes, Input::Probed(heard))])
    }
}

/// How the fake sentry takes a question.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hears {
    /// It answers after this time; where that is longer than anybody waits, it is seen at work.
    Answers(Duration),
    /// It is seen at work, or held back.
    Slow,
    /// It was paused.
    Paused,
    /// It neither answers nor works.
    Nothing,
    /// The question itself does not come back.
    Lost,
}

/// Any teardown of a Create, to say how long it takes.
pub(crate) const fn any_kill_create() -> Rung {
    Rung::KillCreate(String::new())
}

/// Any release of one container.
pub(crate) const fn any_release_one() -> Rung {
    Rung::ReleaseOne(String::new())
}

pub(crate) fn kill_create(container: &str) -> Rung {
    Rung::KillCreate(container.into())
}

pub(crate) fn release_one(container: &str) -> Rung {
    Rung::ReleaseOne(container.into())
}
