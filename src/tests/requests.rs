//! Requests, as the scenarios ask them.

use std::string::ToString;

use crate::io::{ProcessId, ProcessSpec, Request, Sentry};
use crate::task::SIGKILL;

pub(crate) fn init(container: &str) -> ProcessId {
    ProcessId::init(container)
}

pub(crate) fn create(container: &str) -> Request {
    let about = ProcessSpec { bundle: "/bundles/".to_string() + container, ..ProcessSpec::default() };
    Request::Create(container.into(), about)
}

pub(crate) fn state(container: &str) -> Request {
    Request::State(init(container), Sentry::Runs)
}

pub(crate) fn pids(container: &str) -> Request {
    Request::Pids(container.into(), Sentry::Runs)
}

pub(crate) fn sigkill(container: &str) -> Request {
    Request::Kill { process: init(container), signal: SIGKILL, all: false }
}

pub(crate) fn sigterm(container: &str) -> Request {
    Request::Kill { process: init(container), signal: 15, all: false }
}

pub(crate) fn delete(container: &str) -> Request {
    Request::Delete(init(container))
}
