//! The steps that the guard has taken, and how each of them ended.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::keys::StepKind;
use crate::policy::budgets;

/// A step that the guard has taken: of the escalation, or for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looks, and touches nothing.
    Diagnose,
    /// Kills sentry, gofers and hung runsc commands.
    KillSandbox,
    /// Kills the real shim and every descendant.
    KillAll,
    /// Kills what one container's Create began.
    KillCreate(String),
    /// Releases one container that has ended or never ran, and only that: the sandbox lives on.
    ReleaseOne(String),
    /// Releases what the sandbox held and verifies that nothing is left.
    Release,
    /// Takes from what cannot be killed what it holds for others, and frees it where nobody else is harmed.
    Unblock,
    /// Looks at a sandbox that is silent though nobody wants its end, as harmlessly as Diagnose.
    Watch,
}

impl Step {
    /// How long it may take.
    pub const fn budget(&self) -> Duration {
        match self {
            Self::Diagnose | Self::Watch => budgets::DIAGNOSE,
            Self::KillSandbox | Self::KillCreate(_) => budgets::KILL_SANDBOX,
            Self::KillAll => budgets::KILL_ALL,
            Self::ReleaseOne(_) => budgets::RELEASE_ONE,
            Self::Release => budgets::RELEASE.saturating_add(budgets::PROVE),
            Self::Unblock => budgets::UNBLOCK,
        }
    }

    /// Of which kind it is.
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Diagnose => StepKind::Diagnose,
            Self::KillSandbox => StepKind::KillSandbox,
            Self::KillAll => StepKind::KillAll,
            Self::KillCreate(_) => StepKind::KillCreate,
            Self::ReleaseOne(_) => StepKind::ReleaseOne,
            Self::Release => StepKind::Release,
            Self::Unblock => StepKind::Unblock,
            Self::Watch => StepKind::Watch,
        }
    }
}

/// How a step of the escalation ended. `left` are words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Diagnostics are taken.
    Diagnosed,
    /// What still lives after KillSandbox, and when that was seen (nanoseconds since the epoch).
    SandboxKilled {
        /// What still lives.
        left: Vec<String>,
        /// The real shim cannot tell how it ended, however long it is given: it is stopped itself.
        cannot_report: bool,
    },
    /// After KillAll.
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
    /// Released, and what is left all the same.
    Released {
        /// What is left.
        left: Vec<String>,
    },
    /// What was still stuck at the end of an attempt to free it.
    Unblocked {
        /// What lives on.
        left: Vec<String>,
        /// It is being watched whether what holds it up hangs or is slow: the next attempt is due soon.
        undecided: bool,
    },
    /// The watchdog has looked.
    Watched,
}

impl StepResult {
    /// Of which kind the step is that has ended.
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Diagnosed => StepKind::Diagnose,
            Self::SandboxKilled { .. } => StepKind::KillSandbox,
            Self::AllKilled { .. } => StepKind::KillAll,
            Self::CreateKilled { .. } => StepKind::KillCreate,
            Self::ReleasedOne { .. } => StepKind::ReleaseOne,
            Self::Released { .. } => StepKind::Release,
            Self::Unblocked { .. } => StepKind::Unblock,
            Self::Watched => StepKind::Watch,
        }
    }

    /// What it has left, in words for the operator.
    pub fn left(&self) -> &[String] {
        match self {
            Self::SandboxKilled { left, .. }
            | Self::AllKilled { left, .. }
            | Self::ReleasedOne { left, .. }
            | Self::Released { left }
            | Self::Unblocked { left, .. } => left,
            Self::Diagnosed | Self::CreateKilled { .. } | Self::Watched => &[],
        }
    }
}

/// What one question to the sentry has shown in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
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
