//! A container: its processes, its Create, and when the real shim last spoke of it.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::io::{CallId, ProcessSpec};
use crate::task::process::{Life, Process};
use crate::task::query::Query;
use crate::time::Time;

/// Whether what a Create began is being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teardown {
    /// No.
    None,
    /// Yes, and by then that has come back.
    Until(Time),
    /// It has not.
    Lost,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) init: Process,
    pub(super) execs: BTreeMap<String, Process>,
    pub(crate) stats: Query,
    pub(crate) pids: Query,
    create_sent: Option<Time>,
    teardown: Teardown,
    spoke: Time,
    greeting: Option<(CallId, Time)>,
}

impl Container {
    pub(crate) fn new(born: CallId, about: ProcessSpec, now: Time) -> Self {
        Self {
            init: Process::new(born, about),
            execs: BTreeMap::new(),
            stats: Query::default(),
            pids: Query::default(),
            create_sent: Some(now),
            teardown: Teardown::None,
            spoke: now,
            greeting: None,
        }
    }

    /// Every process, init first, each with its exec id.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&str, &Process)> {
        core::iter::once(("", &self.init)).chain(self.execs.iter().map(|(id, p)| (id.as_str(), p)))
    }

    pub(crate) fn execs(&self) -> usize {
        self.execs.len()
    }

    /// When its Create was sent, while that is under way.
    pub(crate) const fn create_sent(&self) -> Option<Time> {
        self.create_sent
    }

    /// Its Create has come back; when it was sent.
    pub(crate) const fn create_returned(&mut self) -> Option<Time> {
        self.create_sent.take()
    }

    /// A process has started in it, which proves that its Create succeeded, though the answer may be lost.
    pub(crate) fn create_is_proven(&mut self) {
        if self.init.life() == Life::Adding && self.teardown == Teardown::None {
            self.create_sent = None;
            self.init.is_there();
        }
    }

    /// Whether its Create is under way, and not being torn down.
    pub(crate) fn is_being_created(&self) -> bool {
        self.create_sent.is_some() && self.teardown == Teardown::None
    }

    pub(crate) const fn teardown(&self) -> Teardown {
        self.teardown
    }

    pub(crate) const fn is_being_torn_down(&self) -> bool {
        matches!(self.teardown, Teardown::Until(_))
    }

    pub(crate) const fn set_teardown(&mut self, teardown: Teardown) {
        self.teardown = teardown;
    }

    /// When the real shim last answered anything about it.
    pub(crate) const fn spoke(&self) -> Time {
        self.spoke
    }

    /// When the greeting was sent that it has not answered. One whose connection was lost is unanswered.
    pub(crate) fn greeted(&self) -> Option<Time> {
        self.greeting.map(|(_, sent)| sent)
    }

    pub(crate) const fn is_greeted(&mut self, call: CallId, now: Time) {
        self.greeting = Some((call, now));
    }

    /// The real shim has answered a call about it.
    pub(crate) fn speaks(&mut self, call: CallId, now: Time) {
        self.spoke = now;
        if self.greeting.is_some_and(|(greeting, _)| greeting == call) {
            self.greeting = None;
        }
    }
}
