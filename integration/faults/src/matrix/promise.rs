//! How long an end may take: what is configured, and nothing else.

use super::{fault::Fault, fault::Part, subject::Subject};
use harness::{
    Handler,
    promise::{ESCALATION, HUNG, QUERY},
};
use std::time::Duration;

/// `stats_deadline`, and the slack after which the real shim has been cut off.
const STATS: Duration = Duration::from_millis(1600);
/// One container that has ended, released by itself.
const RELEASE_ONE: Duration = Duration::from_secs(1);
/// `io.containerd.timeout.shim.cleanup`: what containerd gives the `delete` binary when a guard has died.
const CLEANUP: Duration = Duration::from_secs(5);
/// What CRI gives one try to handle an exit.
const EXIT_HANDLING: Duration = Duration::from_secs(10);
/// How often CRI looks for exits to be handled again, and its first pause.
const LOOKS: Duration = Duration::from_secs(1);

/// The configured times of the cell's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadlines {
    /// Two seconds each, and twice that for `hard_limit`.
    Short,
    /// None configured.
    Defaults,
}

impl Deadlines {
    fn kill(self) -> Duration {
        Duration::from_secs(if self == Self::Short { 2 } else { 10 })
    }

    fn create(self) -> Duration {
        Duration::from_secs(if self == Self::Short { 2 } else { 90 })
    }

    fn delete(self) -> Duration {
        Duration::from_millis(if self == Self::Short { 2000 } else { 2500 })
    }

    fn hard_limit(self) -> Duration {
        Duration::from_secs(if self == Self::Short { 4 } else { 300 })
    }

    /// The shortest of those that a healthy request can miss on a busy machine.
    pub(super) fn shortest(self) -> Duration {
        self.kill().min(self.create()).min(self.delete())
    }

    /// The `[guard]` table.
    pub(super) fn configure(self, handler: Handler) -> Handler {
        if self == Self::Defaults {
            return handler;
        }
        let text = |time: Duration| format!("\"{}ms\"", time.as_millis());
        ["kill_deadline", "start_deadline", "exec_deadline"]
            .iter()
            .fold(handler, |handler, key| handler.guard(key, &text(self.kill())))
            .guard("create_deadline", &text(self.create()))
            .guard("delete_deadline", &text(self.delete()))
            .guard("hard_limit", &text(self.hard_limit()))
    }

    /// The longest that the end may take, from the first time it is asked for.
    pub(super) fn promise(self, fault: Fault, subject: Subject) -> Duration {
        let alone = self.kill().max(self.delete());
        let members = Subject::CONTAINERS;
        let deadline = match (subject, fault) {
            // CRI ends one container after the other, and each has its own clock. Every `runsc delete` takes the
            // locks of all containers of the pod: the siblings' Deletes hang, too, are cut, and work at the
            // second try.
            (Subject::Pod, Fault::LockHeld) => self.hard_limit() * (members - 1) + self.kill(),
            // Stats holds a lock of its container for as long as it hangs, and containerd asks for Stats on its
            // own account, of all: each Kill may have to wait.
            (Subject::Pod, Fault::Hangs("events") | Fault::Fails(_, "events")) => STATS * (members + 1),
            // Nor does the time count that a request spends behind another container's Create.
            (Subject::Pod, Fault::CreateStuck) => self.create() + alone,
            // CRI ends one container after the other, and each exit is handled anew after a pause until the guard has
            // released the container by itself.
            (Subject::Pod, Fault::Fails(_, "delete")) => {
                next_try(self.delete() + RELEASE_ONE, Duration::ZERO) * (members + 1)
            }
            // A measured silence takes longer than the short deadlines: there `hard_limit` comes first.
            (Subject::Pod, fault) if fault.is_silence() && self == Self::Defaults => alone,
            // Siblings that live and were not asked to end, as CRI asks one after the other.
            (Subject::Pod, _) => self.hard_limit(),
            _ => alone,
        };
        let needs = match fault {
            Fault::Killed(Part::Guard) => (deadline + ESCALATION).max(CLEANUP),
            // What cannot be killed ends when it can, and then the escalation goes on.
            Fault::FuseHung | Fault::MmapLockHeld => {
                (deadline + ESCALATION).max(Fault::FUSE_HUNG) + ESCALATION
            }
            // In a pod it ends when the guard has seen long enough that nobody is answered.
            Fault::FuseUnwritten => deadline + ESCALATION + HUNG + ESCALATION,
            // Without a thread it is killed, and released when there is one.
            Fault::NoThread => (deadline + ESCALATION).max(Fault::NO_THREAD) + ESCALATION,
            Fault::GuardStopped => deadline + ESCALATION + Fault::GUARD_STOPPED,
            _ => deadline + ESCALATION,
        };
        QUERY
            + match (subject, fault) {
                (Subject::Pod, Fault::GuardStopped) => next_try(needs, EXIT_HANDLING),
                (Subject::Pod, Fault::Hangs("delete") | Fault::DeleteHung | Fault::Fails(_, _)) => {
                    next_try(needs, self.delete())
                }
                // What fails, fails at once: a Delete whose command was killed, or one of what cannot die yet.
                (
                    Subject::Pod,
                    Fault::Killed(Part::Command)
                    | Fault::FuseHung
                    | Fault::MmapLockHeld
                    | Fault::FuseUnwritten
                    | Fault::NoThread,
                ) => next_try(needs, Duration::ZERO),
                _ => needs,
            }
    }
}

/// When CRI handles an exit again after it has failed for so long, each try taking that time: it pauses for one
/// second, then two, four, eight, and looks once a second (internal/cri/server/events/events.go).
fn next_try(failing: Duration, each: Duration) -> Duration {
    let (mut at, mut pause) = (each, LOOKS);
    while at < failing {
        at += pause + each;
        pause *= 2;
    }
    at + LOOKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_cri_doubles() {
        let seconds =
            |failing, each| next_try(Duration::from_secs(failing), Duration::from_secs(each)).as_secs();
        assert_eq!(seconds(1, 2), 2 + 1);
        assert_eq!(seconds(4, 2), 2 + (1 + 2) + 1);
        assert_eq!(seconds(36, 10), 10 + (1 + 10) + (2 + 10) + (4 + 10) + 1);
    }

    #[test]
    fn most_ends_come_by_the_deadline_the_ladder_and_a_second() {
        let promise = |fault, subject| Deadlines::Short.promise(fault, subject).as_secs();
        assert_eq!(promise(Fault::Stopped(Part::Sentry), Subject::Pod), 4 + 2 + 1);
        assert_eq!(promise(Fault::Frozen, Subject::StandAlone), 2 + 2 + 1);
        assert_eq!(promise(Fault::Stopped(Part::Stubs), Subject::Pod), 4 + 2 + 1);
        assert_eq!(promise(Fault::GuardStopped, Subject::StandAlone), 30 + 2 + 2 + 1);
    }
}
