//! The times of the default policy. What they are in figures is held by `policy`'s own tests.

use core::time::Duration;

use crate::policy::Policy;

const POLICY: Policy = Policy::DEFAULT;

/// From a SIGKILL to its exit.
pub(crate) const KILL: Duration = POLICY.kill_deadline;
/// From a Delete to its answer.
pub(crate) const DELETE: Duration = POLICY.delete_deadline;
/// How long a living sibling is spared.
pub(crate) const HARD_LIMIT: Duration = POLICY.hard_limit.unwrap();
/// Start of a task.
pub(crate) const START: Duration = POLICY.start_deadline;
/// Exec, Start of an exec, and their kin.
pub(crate) const EXEC: Duration = POLICY.exec_deadline;
/// Stats.
pub(crate) const STATS: Duration = POLICY.stats_deadline;
/// State and Pids.
pub(crate) const QUERY: Duration = POLICY.query_deadline;
