//! Whether the server of a FUSE connection hangs, or is only slow: judged from looks at what waits for it.
//!
//! All that the kernel tells is how many requests wait for an answer. One look proves nothing: a slow server has requests
//! waiting, too, and a process killed by hand would have been given the time to get its last ones out. So looks are
//! compared:
//! - Fewer wait than before: it has answered.
//! - A thread of the sandbox that waited in state D was woken, or is gone: it has answered, whatever the count says. (One
//!   thread that sends one request after another, such as the FLUSH of each file at its end, makes the count stand
//!   still while each of them is answered.)
//! - The count stands still, and so does everybody who waits: it has answered nobody, since those who could ask for more
//!   are dead. After [`STILL`] of that it hangs.
//! - The count has grown: somebody asks who does not belong to the sandbox, or the kernel writes back what the sandbox has
//!   left. An answer could hide behind that, so only [`NO_ANSWER_SEEN`] of it is a hang.
//!
//! Time counts only as far as looks cover it: while nobody looked, the server may have stood still with the guard (a
//! virtual machine that was paused; rule 7).

use std::time::Duration;

/// How long nothing may move before a server hangs.
pub(super) const STILL: Duration = Duration::from_secs(10);
/// The same where new requests come, behind which answers may hide: the grace of a `kill -9` for the last data.
pub(super) const NO_ANSWER_SEEN: Duration = Duration::from_secs(30);
/// What one pause between two looks counts at most.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What has been seen of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    waiting: u64,
    still: Duration,
    unanswered: Duration,
}

/// What follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody waits for it.
    Idle,
    /// It may be slow: look again.
    Undecided,
    /// It has had requests waiting at every look, long enough, and has answered none.
    Hangs,
}

impl Server {
    /// One look, so long after the one before: how many requests wait, and whether since then somebody who waited in
    /// state D was woken.
    pub(super) fn look(&mut self, passed: Duration, waiting: u64, woken: bool) -> Verdict {
        let passed = passed.min(LONGEST_PAUSE);
        let first = self.waiting == 0;
        let answered = first || woken || waiting < self.waiting;
        self.unanswered = if answered { Duration::ZERO } else { self.unanswered + passed };
        self.still = if answered || waiting != self.waiting { Duration::ZERO } else { self.still + passed };
        self.waiting = waiting;
        match waiting {
            0 => Verdict::Idle,
            _ if self.still >= STILL || self.unanswered >= NO_ANSWER_SEEN => Verdict::Hangs,
            _ => Verdict::Undecided,
        }
    }
}

#[cfg(test)]
mod tests;
