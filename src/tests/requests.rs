//! Requests, as the scenarios ask them.

use std::string::ToString;

use crate::io::{About, Op, ProcessId, Sentry};
use crate::task::SIGKILL;

pub(crate) fn init(container: &str) -> ProcessId {
    ProcessId::init(container)
}

pub(crate) fn create(container: &str) -> Op {
    let about = About { bundle: "/bundles/".to_string() + container, ..About::default() };
    Op::Create(container.into(), about)
}

pub(crate) fn state(container: &str) -> Op {
    Op::State(init(container), Sentry::Runs)
}

pub(crate) fn pids(container: &str) -> Op {
    Op::Pids(container.into(), Sentry::Runs)
}

pub(crate) fn sigkill(container: &str) -> Op {
    Op::Kill { process: init(container), signal: SIGKILL, all: false }
}

pub(crate) fn sigterm(container: &str) -> Op {
    Op::Kill { process: init(container), signal: 15, all: false }
}

pub(crate) fn delete(container: &str) -> Op {
    Op::Delete(init(container))
}
