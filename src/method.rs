//! Each method of the Task API: what its request does, and what the real shim's response to it means.

use core::time::Duration;

use crate::escalation::{locks, silence, verdict};
use crate::inflight::Kind;
use crate::io::{CallId, Method, Outcome, ProcessId, Request, RequestId, ResponseInfo};
use crate::state::State;
use crate::task::Container;

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod exec;
pub(crate) mod kill;
pub(crate) mod plain;
pub(crate) mod private;
pub(crate) mod query;
pub(crate) mod shutdown;
pub(crate) mod start;
pub(crate) mod wait;

/// A request comes in. `caller` is the caller's own timeout.
pub(crate) fn request(state: &mut State, id: RequestId, request: Request, caller: Option<Duration>) {
    let init = |container: &str| ProcessId::init(container);
    match request {
        Request::Create(container, about) => create::request(state, id, container, about, caller),
        Request::Start(process) => start::request(state, id, process, caller),
        Request::Exec(process, about) => exec::request(state, id, process, about, caller),
        Request::Kill { process, signal, all } => kill::request(state, id, process, signal, all, caller),
        Request::Delete(process) => delete::request(state, id, process, caller),
        Request::Wait(process) => wait::request(state, id, process, caller),
        Request::State(process, sentry) => query::state(state, id, process, sentry, caller),
        Request::Pids(container, sentry) => query::pids(state, id, &container, sentry, caller),
        Request::Stats(container) => query::request(state, id, Kind::Stats, init(&container), caller),
        Request::Connect(container) => query::connect(state, id, &container),
        Request::Update(container) => plain::request(state, id, Method::Update, init(&container), caller),
        Request::Pause(container) => plain::request(state, id, Method::Pause, init(&container), caller),
        Request::Resume(container) => plain::request(state, id, Method::Resume, init(&container), caller),
        Request::Checkpoint(container) => {
            plain::request(state, id, Method::Checkpoint, init(&container), caller)
        }
        Request::ResizePty(process) => plain::request(state, id, Method::ResizePty, process, caller),
        Request::CloseIo(process) => plain::request(state, id, Method::CloseIo, process, caller),
        Request::Shutdown => shutdown::request(state, id, caller),
        Request::Join(container) => private::join(state, id, container),
        Request::End(container) => private::end(state, id, container, caller),
        Request::Reap => private::reap(state, id),
    }
}

/// The real shim responds to a call: the answer goes to whoever waits for it, and the record learns from it.
pub(crate) fn response(state: &mut State, id: CallId, mut outcome: Outcome) {
    // A call that was given up, or whose sandbox is gone, has nobody left.
    let Some(call) = state.inflight.take_call(id) else { return };
    if let Outcome::Done(ResponseInfo::Exit(exit)) = &mut outcome {
        *exit = state.told(*exit);
    }
    verdict::real_shim_speaks(state, id, &call, &outcome);
    locks::call_is_over(state, &call);
    if state.tasks.get(&call.process).is_some_and(|process| process.is_younger_than(id)) {
        // It speaks of a process that is gone; there is a new one of that name.
        return state.relay(call.requests, &outcome);
    }
    if matches!((call.kind, &outcome), (Kind::Start | Kind::Exec, Outcome::Done(_))) {
        state.tasks.container_mut(&call.process.container).map(Container::create_is_proven);
    }
    silence::listen(state, &call, &outcome);
    match call.kind {
        Kind::Create => create::response(state, call, outcome),
        Kind::Start => start::response(state, call, &outcome),
        Kind::Exec => exec::response(state, call, &outcome),
        Kind::State | Kind::Pids | Kind::Stats => query::response(state, id, call, &outcome),
        Kind::Wait => wait::response(state, call, &outcome),
        Kind::Kill(signal) => kill::response(state, id, call, signal, &outcome),
        Kind::Delete => delete::response(state, call, &outcome),
        Kind::Shutdown => shutdown::response(state, &outcome),
        Kind::Plain(method) => plain::response(state, call, method, &outcome),
        Kind::End | Kind::KillEnded => state.relay(call.requests, &outcome),
        Kind::Greeting => {}
    }
}
