//! How long an end may take, for every scenario that measures one: what is promised beside what a handler configures.

use crate::Handler;
use std::time::Duration;

/// `kill_deadline` of [`subject`], and of every handler that says so.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// `query_deadline`: containerd asks State before Kill, and a wedged sandbox lets it wait that long.
pub const QUERY: Duration = Duration::from_secs(1);
/// What the steps of an escalation may take after the deadline.
pub const ESCALATION: Duration = Duration::from_secs(2);
/// How long a FUSE server must have answered nobody before it counts as hung, and the pauses between the looks at it.
pub const HUNG: Duration = Duration::from_secs(10 + 3);
/// How much longer it is waited for, to be sure that something is stuck and not late.
pub const MARGIN: Duration = Duration::from_secs(2);

/// A guarded handler with short deadlines. One container of a pod is ended for the sake of the others at `hard_limit` only,
/// where the sandbox answers.
pub fn subject() -> Handler {
    Handler::quick("subject", "2s").guard("hard_limit", "\"2s\"")
}
