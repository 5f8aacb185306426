//! The table: which method may take how long. What follows when one passes:
//! `escalation::deadlines`.
//!
//! Two deadlines run per request. The *answer* is due at the configured time, or a margin before the caller's
//! own timeout where that is sooner. The *escalation* is due at the configured deadline, counted from the
//! first unanswered request of its kind for that process; neither retries nor a caller's short timeout move
//! it. The limits of containerd and CRI that the defaults must stay under are constants here, and a test
//! holds the arithmetic.

use core::time::Duration;

/// How far before the caller's own timeout the guard answers, so that the answer still finds a listener.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(200);
/// A wake-up this much after its time means that the guard itself was stopped or starved (rule 7).
pub const LATENESS: Duration = Duration::from_millis(500);
/// How long a State or Stats that missed its time lets later ones be answered without asking the real shim
/// again; also how soon a change made behind the shim's back shows (rule 2 allows 5 s).
pub const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long the real shim's word that a task runs is taken as certain, so that State need not ask it again
/// (each time it runs a `runsc state`). A change made behind its back must show within 5 s (rule 2).
pub const CERTAIN_FOR: Duration = Duration::from_secs(4);
/// Questions to the sentry that must stay unanswered before it is silent.
pub const QUESTIONS: u32 = 3;
/// How long each may take.
pub const QUESTION: Duration = Duration::from_secs(1);
/// How long they must have stayed unanswered in all. Silence is a measurement over seconds, never a slow disk.
pub const SILENCE: Duration = Duration::from_secs(5);
/// From one question to the next: three with their pauses take no less than [`SILENCE`].
pub const PACE: Duration = Duration::from_millis(2100);
/// How long before a deadline that needs a verdict the first question is asked, so that the verdict is in by then.
pub const VERDICT: Duration = Duration::from_millis(5500);
/// How long after its own time a step or a question counts as one that will not come back.
pub const HOME: Duration = Duration::from_secs(2);
/// How soon it is looked again whether what holds it up hangs or is slow.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long the guard waits before it tries again to free what it cannot kill; each time twice as long ...
pub const FREE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// ... up to this.
pub const FREE_AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(60);
/// ... and up to this where not even killing them has come back.
pub const KILL_AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(10 * 60);
/// How long a guard without a container waits for one: containerd gives the connection to a new shim 100 s (pkg/shim
/// util.go), and Create follows it.
pub const VACANT_FOR: Duration = Duration::from_secs(120);
/// How long after a connection has ended the guard looks whether containerd still knows the sandbox: a restart takes a
/// few seconds ...
pub const RECALL_AFTER: Duration = Duration::from_secs(10);
/// ... and again, as long as it cannot be said, and before what is forgotten is ended.
pub const RECALL_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long a forward lives that nobody waits for any more (a pending signal).
pub const PENDING_SIGNAL: Duration = Duration::from_secs(30);
/// How long the guard has on a node that goes down, so that its process is gone within two seconds (rule 10).
pub const LEAVES_WITHIN: Duration = Duration::from_millis(1500);
/// How long a real shim that has left in peace may have been told so by a node that goes down. containerd, told in the
/// same moment, is gone by then.
pub const SIGN_WITHIN: Duration = Duration::from_secs(2);

/// What containerd 2.4 and its CRI plugin allow, upstream places in their comments.
pub mod limits {
    use core::time::Duration;

    /// `io.containerd.timeout.task.state`.
    pub const STATE: Duration = Duration::from_secs(2);
    /// `io.containerd.timeout.metrics.shimstats`.
    pub const STATS: Duration = Duration::from_secs(2);
    /// `io.containerd.timeout.shim.shutdown`.
    pub const SHUTDOWN: Duration = Duration::from_secs(3);
    /// `io.containerd.timeout.shim.cleanup`: after it the `delete` binary is killed.
    pub const CLEANUP: Duration = Duration::from_secs(5);
    /// CRI's `handleEventTimeout`: one exit, from State to the `delete` binary.
    pub const EXIT_HANDLING: Duration = Duration::from_secs(10);
}

/// The budgets of the escalation's steps: at most two seconds in all.
pub mod budgets {
    use core::time::Duration;

    /// Diagnose: what is seen of the sandbox before anything is touched.
    pub const DIAGNOSE: Duration = Duration::from_millis(300);
    /// KillSandbox: the sandbox killed, and the real shim given the time to report its exits.
    pub const KILL_SANDBOX: Duration = Duration::from_millis(700);
    /// KillAll: the real shim and every descendant killed.
    pub const KILL_ALL: Duration = Duration::from_millis(400);
    /// Release: mounts, cgroups, files and sockets released.
    pub const RELEASE: Duration = Duration::from_millis(400);
    /// Release, its second part: nothing is left, or the rest is named.
    pub const PROVE: Duration = Duration::from_millis(200);
    /// When the last process must be dead, counted from the first step.
    pub const BEFORE_RELEASE: Duration = DIAGNOSE.saturating_add(KILL_SANDBOX).saturating_add(KILL_ALL);
    /// What KillAll may take beyond that on a node so busy that dying takes long; who can wait, waits for it.
    pub const OVERLOAD: Duration = Duration::from_secs(6);
    /// Unblock: one attempt to free what cannot be killed; nobody waits for it.
    pub const UNBLOCK: Duration = Duration::from_secs(2);
    /// One container that has ended, released by itself.
    pub const RELEASE_ONE: Duration = Duration::from_millis(1000);
    /// The steps from Diagnose to Release.
    pub const TOTAL: Duration = BEFORE_RELEASE.saturating_add(RELEASE).saturating_add(PROVE);
}

/// The time the `delete` binary has when no guard lives.
pub const DELETE_BINARY: Duration = Duration::from_secs(4);
/// The time the `delete` binary needs where a living guard has released everything.
pub const DELETE_BINARY_CLEAN: Duration = Duration::from_millis(1500);

/// The configured deadlines, one field for each key of the `[guard]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Create: tear down what it began, and only that.
    pub create_deadline: Duration,
    /// Start of a task: DEADLINE_EXCEEDED.
    pub start_deadline: Duration,
    /// Exec, Start of an exec, Update, Pause, Resume, ResizePty, CloseIO: DEADLINE_EXCEEDED.
    pub exec_deadline: Duration,
    /// State and Pids: answered from the record.
    pub query_deadline: Duration,
    /// Stats: DEADLINE_EXCEEDED.
    pub stats_deadline: Duration,
    /// Signals other than SIGKILL: success, the signal is pending.
    pub signal_deadline: Duration,
    /// SIGKILL to the exit: escalate.
    pub kill_deadline: Duration,
    /// One container of a pod whose siblings live and were not asked to end: escalate after all; `None` is never.
    pub hard_limit: Option<Duration>,
    /// Delete: the container is released by itself; the root container's: escalate.
    pub delete_deadline: Duration,
    /// Shutdown: answered by then.
    pub shutdown_deadline: Duration,
    /// What is done about a sandbox that stops answering unasked.
    pub watchdog: Watchdog,
    /// How long it must have been silent.
    pub watchdog_after: Duration,
}

/// See [`Policy::watchdog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// Nothing.
    Off,
    /// A report.
    Report,
    /// A report, and the sandbox ends.
    Kill,
}

impl Policy {
    /// What holds where nothing is configured.
    pub const DEFAULT: Self = Self {
        create_deadline: Duration::from_secs(90),
        start_deadline: Duration::from_secs(110),
        exec_deadline: Duration::from_secs(30),
        query_deadline: Duration::from_secs(1),
        stats_deadline: Duration::from_millis(1500),
        signal_deadline: Duration::from_secs(2),
        kill_deadline: Duration::from_secs(10),
        hard_limit: Some(Duration::from_secs(5 * 60)),
        delete_deadline: Duration::from_millis(2500),
        shutdown_deadline: Duration::from_secs(2),
        watchdog: Watchdog::Report,
        watchdog_after: Duration::from_secs(60),
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRI has ten seconds for State, Stats, Connect, Kill, State, Delete, Shutdown and the `delete`
    /// binary. After an exit the guard answers all but the last three at once.
    #[test]
    fn an_exit_is_handled_within_cris_budget() {
        let policy = Policy::default();
        let at_once = Duration::ZERO;
        let state_stats_connect_kill_state = at_once;
        let all = state_stats_connect_kill_state
            + policy.delete_deadline
            + budgets::TOTAL
            + policy.shutdown_deadline
            + DELETE_BINARY_CLEAN;
        assert!(all <= limits::EXIT_HANDLING - Duration::from_secs(1), "{all:?}");
    }

    #[test]
    fn the_escalation_takes_two_seconds_at_most() {
        assert!(budgets::TOTAL <= Duration::from_secs(2));
    }

    #[test]
    fn the_verdict_is_in_at_the_deadline() {
        let last_question = PACE * (QUESTIONS - 1) + QUESTION;
        assert!(SILENCE <= last_question && last_question < VERDICT);
        assert!(VERDICT < Policy::default().kill_deadline);
    }

    #[test]
    fn answers_come_before_containerd_gives_up() {
        let policy = Policy::default();
        assert!(policy.query_deadline < limits::STATE);
        assert!(policy.stats_deadline < limits::STATS);
        assert!(policy.shutdown_deadline < limits::SHUTDOWN);
        assert!(DELETE_BINARY < limits::CLEANUP);
    }
}
