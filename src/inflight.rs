//! Requests that wait for their answers, and calls to the real shim that have not come back.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::io::{CallId, Method, ProcessId, RequestId};
use crate::time::Time;

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct PendingRequest {
    pub(crate) kind: Kind,
    pub(crate) process: ProcessId,
    pub(crate) since: Time,
    /// When an answer is due whatever happens.
    pub(crate) due: Option<Time>,
}

/// What follows when a request is late, or a call comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Start,
    Exec,
    State,
    Pids,
    Stats,
    Wait,
    /// With the signal's number.
    Kill(u32),
    /// A signal to a process that has ended.
    KillEnded,
    Delete,
    Shutdown,
    End,
    /// Whether the real shim answers anything at all.
    Greeting,
    /// Forwarded without further thought.
    Plain(Method),
}

impl Kind {
    /// What containerd has asked for; none where the guard asks by itself.
    pub(crate) fn asked(self) -> Option<Method> {
        (self != Self::Greeting).then(|| self.method())
    }

    /// As what it travels.
    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Create => Method::Create,
            Self::Start => Method::Start,
            Self::Exec => Method::Exec,
            Self::State => Method::State,
            Self::Pids => Method::Pids,
            Self::Stats => Method::Stats,
            Self::Wait => Method::Wait,
            Self::Kill(_) | Self::KillEnded => Method::Kill,
            Self::Delete => Method::Delete,
            Self::Shutdown => Method::Shutdown,
            Self::End => Method::End,
            Self::Greeting => Method::Checkpoint,
            Self::Plain(method) => method,
        }
    }
}

/// A call to the real shim that has not come back.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) process: ProcessId,
    /// Who is answered by it.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) sent: Time,
    /// What went as `timeout_nano`; zero is none.
    pub(crate) timeout: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    requests: BTreeMap<RequestId, PendingRequest>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
}

impl Inflight {
    pub(crate) fn wait(&mut self, id: RequestId, request: PendingRequest) {
        self.requests.insert(id, request);
    }

    /// A request waits no longer: it is answered, or its caller has left. `None` if that was so already.
    pub(crate) fn stop_waiting(&mut self, id: RequestId) -> Option<PendingRequest> {
        let request = self.requests.remove(&id)?;
        for call in self.calls.values_mut() {
            call.requests.retain(|other| *other != id);
        }
        Some(request)
    }

    pub(crate) fn request(&self, id: RequestId) -> Option<&PendingRequest> {
        self.requests.get(&id)
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = (RequestId, &PendingRequest)> {
        self.requests.iter().map(|(id, request)| (*id, request))
    }

    /// The requests that are wanted, for walks that answer them.
    pub(crate) fn requests_where(&self, wanted: impl Fn(&PendingRequest) -> bool) -> Vec<RequestId> {
        self.requests().filter(|(_, request)| wanted(request)).map(|(id, _)| id).collect()
    }

    pub(crate) fn requests_for(&self, process: &ProcessId, kind: Kind) -> Vec<RequestId> {
        self.requests_where(|request| request.kind == kind && request.process == *process)
    }

    pub(crate) fn first_answer_due(&self) -> Option<Time> {
        self.requests.values().filter_map(|request| request.due).min()
    }

    /// Requests of this kind are answered by `due` at the latest.
    pub(crate) fn hasten(&mut self, process: &ProcessId, kind: Kind, due: Time) {
        let of_it = |request: &&mut PendingRequest| request.kind == kind && request.process == *process;
        for request in self.requests.values_mut().filter(of_it) {
            request.due = request.due.map(|old| old.min(due));
        }
    }

    /// The number that the next call will have.
    pub(crate) const fn next_call(&self) -> CallId {
        CallId(self.next_call)
    }

    pub(crate) fn add_call(&mut self, call: Call) -> CallId {
        let id = self.next_call();
        self.next_call += 1;
        self.calls.insert(id, call);
        id
    }

    /// A call has come back or is given up; `None` if it was before.
    pub(crate) fn take_call(&mut self, id: CallId) -> Option<Call> {
        self.calls.remove(&id)
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = (CallId, &Call)> {
        self.calls.iter().map(|(id, call)| (*id, call))
    }

    /// Who is answered by a call.
    pub(crate) fn requests_of(&self, call: CallId) -> Vec<RequestId> {
        self.calls.get(&call).map(|call| call.requests.clone()).unwrap_or_default()
    }

    /// Adds a request to those that a call answers; false if there is no such call.
    pub(crate) fn share(&mut self, call: CallId, request: RequestId) -> bool {
        let call = self.calls.get_mut(&call);
        call.map(|call| call.requests.push(request)).is_some()
    }

    /// Has a call answer these instead; false if there is no such call.
    pub(crate) fn hand_over(&mut self, call: CallId, requests: &[RequestId]) -> bool {
        let call = self.calls.get_mut(&call);
        call.map(|call| call.requests = requests.into()).is_some()
    }

    /// Whether a call has not come back.
    pub(crate) fn is_out(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Whether nobody waits for a call.
    pub(crate) fn is_unawaited(&self, call: CallId) -> bool {
        self.calls.get(&call).is_none_or(|call| call.requests.is_empty())
    }

    /// No call comes back any more.
    pub(crate) fn clear_calls(&mut self) {
        self.calls.clear();
    }
}
