//! The steps that the guard has taken, and how each of them ended.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::policy::rungs;

/// A step of the ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// 1: look, do not touch.
    Evidence,
    /// 2: kill sentry, gofers and hung runsc commands.
    KillSandbox,
    /// 3: kill the real shim and every descendant.
    KillAll,
    /// Kill what one container's Create began.
    KillCreate(String),
    /// Release one container that has ended or never ran, and only that: the sandbox lives on.
    ReleaseOne(String),
    /// 4 and 5: release what the sandbox held and prove that nothing is left.
    Release,
    /// 6: take from what cannot be killed what it holds for others, and free it where nobody else is harmed.
    Free,
    /// No rung: look at a sandbox that is silent though nobody wants its end. As harmless as 1.
    Watch,
}

impl Rung {
    /// How long it may take.
    pub const fn budget(&self) -> Duration {
        match self {
            Self::Evidence | Self::Watch => rungs::EVIDENCE,
            Self::KillSandbox | Self::KillCreate(_) => rungs::KILL_SANDBOX,
            Self::KillAll => rungs::KILL_ALL,
            Self::ReleaseOne(_) => rungs::RELEASE_ONE,
            Self::Release => rungs::RELEASE.saturating_add(rungs::PROVE),
            Self::Free => rungs::FREE,
        }
    }

    /// Its name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::KillSandbox => "kill sandbox",
            Self::KillAll => "kill all",
            Self::KillCreate(_) => "kill create",
            Self::ReleaseOne(_) => "release one",
            Self::Release => "release",
            Self::Free => "free",
            Self::Watch => "look",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a step of the ladder ended. `left` are words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RungDone {
    /// Rung 1.
    Evidence,
    /// Rung 2: what still lives, and when that was seen (nanoseconds since the epoch).
    SandboxKilled {
        /// What still lives.
        left: Vec<String>,
        /// The real shim cannot tell how it ended, however long it is given: it is stopped itself.
        mute: bool,
    },
    /// Rung 3.
    AllKilled {
        /// What still lives.
        left: Vec<String>,
        /// When that was seen, in nanoseconds since the epoch.
        at_ns: u64,
    },
    /// What one container's Create began is killed; `stuck` says where it hung.
    CreateKilled {
        /// The container.
        container: String,
        /// Where it hung, in words for the operator.
        stuck: String,
    },
    /// One container that had ended is released by itself.
    ReleasedOne {
        /// The container.
        container: String,
        /// What is left, and who holds it.
        left: Vec<String>,
        /// When that was seen, in nanoseconds since the epoch.
        at_ns: u64,
    },
    /// Rungs 4 and 5: released, and what is left all the same.
    Released {
        /// What is left.
        left: Vec<String>,
    },
    /// Rung 6: what was still stuck at the end of the attempt.
    Freed {
        /// What lives on.
        left: Vec<String>,
        /// It is being watched whether what holds it up hangs or is slow: the next attempt is due soon.
        undecided: bool,
    },
    /// The watchdog has looked.
    Watched,
}

impl RungDone {
    /// The step that has ended.
    pub fn step(&self) -> Rung {
        match self {
            Self::Evidence => Rung::Evidence,
            Self::SandboxKilled { .. } => Rung::KillSandbox,
            Self::AllKilled { .. } => Rung::KillAll,
            Self::CreateKilled { container, .. } => Rung::KillCreate(container.clone()),
            Self::ReleasedOne { container, .. } => Rung::ReleaseOne(container.clone()),
            Self::Released { .. } => Rung::Release,
            Self::Freed { .. } => Rung::Free,
            Self::Watched => Rung::Watch,
        }
    }

    /// What it has left, in words for the operator.
    pub fn left(&self) -> &[String] {
        match self {
            Self::SandboxKilled { left, .. }
            | Self::AllKilled { left, .. }
            | Self::ReleasedOne { left, .. }
            | Self::Released { left }
            | Self::Freed { left, .. } => left,
            Self::Evidence | Self::CreateKilled { .. } | Self::Watched => &[],
        }
    }
}

/// What one question to the sentry has shown in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The sentry answers.
    Answers,
    /// It was paused on purpose: it answers, but whatever is sent to its tasks waits.
    Paused,
    /// No answer in the time given, but /proc shows that it is at work or held back: its processor time grows, it is
    /// runnable, or its cgroup throttles it. That is not silence.
    Slow,
    /// No answer, and /proc shows it stopped, frozen, or not using its processor.
    Nothing,
}
