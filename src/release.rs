//! Delete of what has ended costs nobody anything: where the real shim hangs over it, or answers with errors, the
//! guard releases this one container by itself at the deadline, and the sandbox lives on.

use alloc::string::String;
use alloc::vec::Vec;

use crate::call::Kind;
use crate::exit::Exit;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, Note, Output, ProcessId, RequestId, Rung};
use crate::policy::{HOME, rungs};

/// How much that was released by itself is remembered.
const REMEMBERED: usize = 64;

impl Guard {
    /// An exec holds nothing but its output's copy in the real shim; a container is released first.
    pub(crate) fn release_one(&mut self, id: &ProcessId) {
        if !id.is_init() {
            return self.delete_by_itself(id, 0);
        }
        let limit = self.now + rungs::RELEASE_ONE + HOME;
        let Some(process) = self.tasks.get_mut(id) else { return };
        process.releasing = Some(limit);
        self.rung(Rung::ReleaseOne(id.container.clone()), rungs::RELEASE_ONE);
    }

    /// The container is released, as far as it could be.
    pub(crate) fn released_one(&mut self, container: String, left: Vec<String>, at_ns: u64) {
        let id = ProcessId::init(&container);
        let Some(process) = self.tasks.get_mut(&id).filter(|process| process.releasing.is_some()) else {
            return;
        };
        process.releasing = None;
        let waited = process.delete.map(|clock| self.now - clock.since).unwrap_or_default();
        self.note(Note::ReleasedOne { container, waited, left });
        if matches!(self.phase, Phase::Open) {
            self.delete_by_itself(&id, at_ns);
        }
    }

    /// A release that has not come back holds nobody up.
    pub(crate) fn lose_releases(&mut self) {
        for id in self.tasks.ids() {
            self.lose_release_if_due(&id);
        }
    }

    fn lose_release_if_due(&mut self, id: &ProcessId) {
        let releasing = self.tasks.get(id).and_then(|process| process.releasing);
        if releasing.is_some_and(|limit| limit <= self.now) {
            let left = "its release did not come back: its rootfs or a cgroup may still be there";
            self.released_one(id.container.clone(), Vec::from([left.into()]), 0);
        }
    }

    /// Answers Delete with the exit; where nobody waits for that now, the next who asks is answered.
    fn delete_by_itself(&mut self, id: &ProcessId, at_ns: u64) {
        let Some(process) = self.tasks.get_mut(id) else { return };
        let exit = process.exit.unwrap_or(Exit::killed(process.pid, at_ns));
        let requests: Vec<RequestId> = self.requests_for(id, Kind::Delete);
        let asked = !requests.is_empty() || !self.requests_for(id, Kind::End).is_empty();
        self.output(Output::Save);
        let Some(process) = self.tasks.get_mut(id) else { return };
        process.released = true;
        if !asked && !process.end {
            (process.delete, process.deleted) = (None, true);
            return self.ended(id, exit);
        }
        self.forget(id, exit);
        for request in requests {
            self.reply(request, Answer::Deleted(exit));
        }
    }

    /// What was released by itself is gone for everybody, whatever the real shim still says of it.
    pub(crate) fn is_released_alone(&self, id: &ProcessId) -> bool {
        let covers = |gone: &ProcessId| gone == id || gone.is_init() && gone.container == id.container;
        self.tasks.get(id).is_none() && self.released.iter().any(covers)
    }

    /// It is forgotten.
    pub(crate) fn remember_released(&mut self, id: &ProcessId) {
        if self.released.len() == REMEMBERED {
            self.released.pop_front();
        }
        self.released.push_back(id.clone());
    }

    /// The real shim knows nothing of it any more either, or knows another one of that name.
    pub(crate) fn forget_released(&mut self, id: &ProcessId) {
        self.released.retain(|gone| gone != id && (!id.is_init() || gone.container != id.container));
    }
}
