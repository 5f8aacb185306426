//! A node that goes down is not a wedge (rule 10): everything is killed at once, nobody is told of a hang, and the
//! guard is gone in time, whatever lives on.
//!
//! Whether the node goes down is asked when somebody was told by SIGTERM: the guard itself, or the real shim, which
//! then leaves in peace. Both may come before the sign is there, when all processes are told in one moment.

use alloc::vec::Vec;

use crate::admit::name;
use crate::call::Kind;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Note, Output, ProcessId, RequestId};
use crate::policy::{LEAVES_WITHIN, SIGN_WITHIN};
use crate::refusal::Refusal;
use crate::timers::Timer;

impl Guard {
    /// The node goes down.
    pub(crate) fn terminate(&mut self) {
        if self.leaves_at.is_some() || matches!(self.phase, Phase::Closed) {
            return;
        }
        self.leaves_at = Some(self.now + LEAVES_WITHIN);
        self.timers.set(Timer::NodeShutdown, self.leaves_at);
        if !matches!(self.phase, Phase::Closing(_)) {
            self.output(Output::StopListening);
        }
        self.note(Note::NodeGoesDown);
        match self.phase {
            // It is dead, or nothing will kill it.
            Phase::Gone(_) | Phase::Unkillable(..) => self.leave(),
            _ => self.kill_at_once(),
        }
    }

    /// The real shim has left as one does that was sent SIGTERM. If that is a node that goes down, it will show.
    pub(crate) fn real_shim_left(&mut self) {
        match self.phase {
            Phase::Open if self.leaves_at.is_none() => {
                self.timers.set(Timer::RealShimLeft, Some(self.now + SIGN_WITHIN));
            }
            _ => self.real_shim_exited(),
        }
    }

    /// Whether the node goes down, and with it nothing more is to be told.
    pub(crate) fn is_leaving_the_node(&self) -> bool {
        self.leaves_at.is_some()
    }

    /// Ends the guard. Of what is not known to be dead no end is told: whoever waits is refused.
    pub(crate) fn leave(&mut self) {
        self.left_behind = !self.is_released();
        if !matches!(self.phase, Phase::Gone(_)) {
            let waiting: Vec<(RequestId, Kind, ProcessId)> =
                self.waiting.iter().map(|(id, one)| (*id, one.kind, one.process.clone())).collect();
            for (request, kind, process) in waiting {
                let (method, id) = (kind.method(), name(&process));
                let why = "goes down with its node";
                self.reply(request, Answer::Refused(Refusal::Ending { method, id, why }));
            }
        }
        self.finish();
    }
}
