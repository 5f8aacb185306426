//! Time behind the real shim's locks, which does not count: a Create holds the one lock of all containers, a Start or
//! an Update its container's (gVisor pkg/shim/v1/runsc/service.go, proc/init.go), each within its own deadline.

use core::time::Duration;

use crate::call::{Call, Kind};
use crate::guard::Guard;
use crate::io::ProcessId;
use crate::task::Clock;
use crate::time::Time;

impl Guard {
    /// Since when something has held up what this clock waits for, and until when that is an excuse. What was
    /// acknowledged waits for no lock of another request's; but no exit is reported during a Create.
    pub(crate) fn held_since(&self, id: &ProcessId, clock: &Clock) -> Option<(Time, Time)> {
        let others = self.tasks.0.iter().filter(|(container, _)| **container != id.container);
        let creates = others.filter_map(|(_, task)| task.creating);
        let creates = creates.map(|began| (began, began + self.policy.create_deadline));
        let calls = self.calls.values().filter(|call| !clock.acknowledged && holds_a_lock(call));
        let calls = calls.map(|call| (call.sent, call.sent + call.timeout));
        creates.chain(calls).filter(|(_, over)| self.now < *over).min()
    }

    /// Another container's Create is over: what waited behind it has its own time again.
    pub(crate) fn create_is_over(&mut self, created: &ProcessId, began: Time) {
        self.has_waited(began, |id, _| id.container != created.container);
    }

    /// A call is over that may have held a lock.
    pub(crate) fn call_is_over(&mut self, call: &Call) {
        if holds_a_lock(call) {
            self.has_waited(call.sent, |_, clock| !clock.acknowledged);
        }
    }

    fn has_waited(&mut self, began: Time, behind: impl Fn(&ProcessId, &Clock) -> bool) {
        let now = self.now;
        for id in self.tasks.ids() {
            let Some(process) = self.tasks.get_mut(&id) else { continue };
            for clock in [&mut process.kill, &mut process.delete].into_iter().flatten() {
                if behind(&id, clock) {
                    let waited: Duration = now - clock.since.max(began);
                    clock.since = clock.since + waited;
                }
            }
        }
    }
}

fn holds_a_lock(call: &Call) -> bool {
    call.process.is_init() && matches!(call.kind, Kind::Start | Kind::Plain("Update" | "Checkpoint"))
}
