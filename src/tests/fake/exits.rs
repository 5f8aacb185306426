//! How processes of the fake sandbox end, and calls to the fake real shim.

use std::time::Duration;
use std::vec::Vec;

use super::{Fakes, Soon, ms, waited};
use crate::exit::Exit;
use crate::io::{CallId, Event, Input, ProcessId};
use crate::tests::ledger::Sent;
use crate::tests::on::Lost;

impl Fakes {
    pub(crate) fn recall(&mut self) -> Soon {
        if self.recall_hangs {
            self.lost.insert(Lost::Recall);
            return Soon::new();
        }
        Soon::from([(ms(20), Input::Recalled(self.recalled))])
    }

    /// A process ends; with the root all others do, since it takes the sentry along.
    pub(crate) fn exit(&mut self, id: &ProcessId, status: u32, after: Duration) -> Soon {
        let mut soon = self.end(id, status, after);
        if !soon.is_empty() && *id == ProcessId::init("root") {
            self.sentry_gone = true;
            let others: Vec<ProcessId> = self.processes.keys().cloned().collect();
            soon.extend(others.iter().flat_map(|other| self.end(other, 128, after + ms(1))));
        }
        soon
    }

    /// A process ends: its event and the answers to its Waits.
    fn end(&mut self, id: &ProcessId, status: u32, after: Duration) -> Soon {
        let Some(fake) = self.processes.get_mut(id) else { return Vec::new() };
        if fake.exit.is_some() || !fake.started {
            return Vec::new();
        }
        self.epoch_ns += 1;
        let exit = Exit { pid: fake.pid, status, at_ns: self.epoch_ns };
        fake.exit = Some(exit);
        let calls: Vec<CallId> =
            self.waits.iter().filter(|(_, of)| *of == id).map(|(call, _)| *call).collect();
        self.waits.retain(|_, of| of != id);
        let mut soon = Vec::from([(after, Input::Event(Event::Exit(id.clone(), exit)))]);
        soon.extend(calls.into_iter().flat_map(|call| waited(call, exit, after)));
        soon
    }

    /// The connection of a call ends: a Create that holds the lock lets go of it.
    pub(crate) fn cancel(&mut self, call: CallId) -> Soon {
        let behind = self.returned(call);
        behind.into_iter().flat_map(|(call, sent)| self.call(call, &sent)).collect()
    }

    /// A call is over: what waited behind a Create goes on.
    pub(crate) fn returned(&mut self, call: CallId) -> Vec<(CallId, Sent)> {
        self.hanging.remove(&call);
        if self.lock != Some(call) {
            return Vec::new();
        }
        self.lock = None;
        core::mem::take(&mut self.behind)
    }
}
