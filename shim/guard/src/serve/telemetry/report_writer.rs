//! What the guard writes down of an escalation while it goes on.
//!
//! Whoever learns something (the driver, a step in its thread, the relay of the real shim's log) puts it in and goes
//! on; a thread that lives only while there is something to write makes the file of it, whole, in its own time. So a
//! disk that hangs or is full holds up nothing, and a guard that dies leaves what was known last. Before the first
//! escalation there is nothing of this but an empty place.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{EscalationPhase, Request, RequestId, StepKind};
use runsc_guard_core::view::View;

use super::recent::{self, Recent};
use super::words;
use crate::serve::encode;
use runsc_guard_node::config::Config;
use runsc_guard_node::report::{Folder, Report, What};
use runsc_guard_sandbox::diagnostics::processes::Diagnostics;
use runsc_guard_sandbox::diagnostics::stacks::Told;
use runsc_guard_sandbox::resources::inventory::Released;

mod open;
mod shared;

pub(crate) use open::Why;
use open::{Open, now_ms};
use shared::Shared;

/// The account of this sandbox's escalation, if there is one.
#[derive(Clone)]
pub(crate) struct ReportWriter(Arc<Shared>);

impl ReportWriter {
    /// Of the sandbox with this bundle, in which its pod's name stands.
    pub(crate) fn new(config: &Config, namespace: &str, sandbox: &str, bundle: &Path) -> Self {
        let (namespace, sandbox) = (namespace.to_owned(), sandbox.to_owned());
        let (folder, runsc) = (Folder::new(&config.report_dir), config.runsc_binary.clone().into());
        let (open, come) = (Mutex::default(), Condvar::new());
        let bundle = bundle.to_owned();
        Self(Arc::new(Shared { folder, runsc, namespace, sandbox, bundle, open, come }))
    }

    /// An escalation begins, or that of one container's Create becomes the `whole` sandbox's. What is known by then is
    /// its past.
    pub(crate) fn begins(&self, why: Why<'_>, whole: bool, view: View, recent: &Recent) {
        let mut open = self.lock();
        let now_ns = encode::wall_clock_ns();
        if open.as_ref().is_none_or(|open| open.over) {
            let report = Report::begin(&self.0.namespace, &self.0.sandbox, now_ns);
            *open = Some(Box::new(Open::of(report, view, recent)));
        }
        if let Some(open) = open.as_mut() {
            open.because(why, now_ns / 1_000_000);
            open.whole |= whole;
            self.save(open);
        }
    }

    /// Whether there is an escalation under way.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().as_ref().is_some_and(|open| !open.over)
    }

    /// Where it is written to.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.lock().as_ref().map(|open| self.0.folder.file(&open.report))
    }

    /// Whatever else is worth a line of the timeline.
    pub(crate) fn happened(&self, text: &str) {
        self.learn(|open| open.moment(What::Happened, text.to_owned()));
    }

    /// A request has come in.
    pub(crate) fn asked(&self, id: RequestId, op: &Request) {
        self.learn(|open| {
            let text = format!("{} of {}", op.method(), words::about(op));
            open.moment(What::Asked, text.clone());
            open.asked.insert(id, text);
        });
    }

    /// A request has been answered.
    pub(crate) fn answered(&self, id: RequestId, words: impl FnOnce() -> String) {
        self.learn(|open| {
            if let Some(asked) = open.asked.remove(&id) {
                open.moment(What::Answered, format!("{asked}: {}", words()));
            }
        });
    }

    /// Its caller has gone.
    pub(crate) fn abandoned(&self, id: RequestId) {
        self.answered(id, || "its caller has given up".to_owned());
    }

    /// A step begins.
    pub(crate) fn step_begins(&self, step: StepKind, budget: Duration) {
        self.learn(|open| open.report.step_begins(step, now_ms(), recent::millis(budget)));
    }

    /// A step has ended with this left.
    pub(crate) fn step_ends(&self, step: StepKind, left: &[String]) {
        self.learn(|open| {
            // One that the report has no place for is none of it.
            let _ = open.report.step_ends(step, now_ms(), left);
        });
    }

    /// What /proc tells, before anything is touched.
    pub(crate) fn saw(&self, diagnostics: Diagnostics) {
        self.learn(|open| open.report.diagnostics = diagnostics);
    }

    /// What the sentry tells.
    pub(crate) fn told(&self, told: Told) {
        self.learn(|open| (open.report.stacks, open.report.runsc_version) = (told.stacks, told.version));
    }

    /// What was released.
    pub(crate) fn released(&self, released: Vec<Released>) {
        self.learn(|open| open.report.released.extend(released));
    }

    /// What cannot be killed.
    pub(crate) fn is_stuck(&self, left: &[String]) {
        self.learn(|open| open.report.is_left(left));
    }

    /// The escalation is so far.
    pub(crate) fn is_in(&self, phase: EscalationPhase) {
        self.learn(|open| phase.as_str().clone_into(&mut open.report.phase));
    }

    /// The escalation has ended after this time with this left.
    pub(crate) fn ends(&self, took: Duration, left: &[String]) {
        self.learn(|open| {
            open.report.took_ms = Some(recent::millis(took));
            open.ends(left);
        });
    }

    /// A release has come home with this left: if the escalation did not wait for it, only now is it known.
    pub(crate) fn comes_home(&self, left: &[String]) {
        self.learn(|open| {
            if open.rest {
                open.ends(left);
            }
        });
    }

    /// What one container's Create began is torn down, or a container is released by itself; an escalation that was begun meanwhile goes on.
    pub(crate) fn one_ends(&self) {
        self.learn(|open| {
            if !open.whole {
                open.report.ended_ms = open.report.left.is_empty().then(now_ms);
                open.over = true;
            }
        });
    }

    /// The watchdog has looked, and nothing follows.
    pub(crate) fn only_looked(&self) {
        self.learn(|open| {
            if !open.whole {
                (open.report.only_looked, open.report.ended_ms, open.over) = (true, Some(now_ms()), true);
            }
        });
    }

    /// A piece of the real shim's log.
    pub(crate) fn hears(&self, piece: &[u8]) {
        let mut open = self.lock();
        if let Some(open) = open.as_mut()
            && open.shim.feed(piece)
        {
            self.save(open);
            self.0.come.notify_all();
        }
    }

    /// Waits until the real shim's goroutines are there, if there is an escalation to tell of.
    pub(crate) fn await_goroutines(&self, deadline: Instant) {
        let limit = deadline.saturating_duration_since(Instant::now());
        let silent = |open: &mut Option<Box<Open>>| open.as_ref().is_some_and(|open| !open.shim.is_whole());
        drop(self.0.come.wait_timeout_while(self.lock(), limit, silent));
    }

    /// The guard ends: waits until all is written, if that takes no longer than `limit`.
    pub(crate) fn close(&self, limit: Duration) {
        self.learn(|open| open.over = true);
        let busy = |open: &mut Option<Box<Open>>| open.as_ref().is_some_and(|open| open.saving);
        drop(self.0.come.wait_timeout_while(self.lock(), limit, busy));
    }

    fn learn(&self, fact: impl FnOnce(&mut Open)) {
        let mut open = self.lock();
        if let Some(open) = open.as_mut().filter(|open| !open.over) {
            fact(open);
            self.save(open);
            if open.over {
                self.0.come.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Open>>> {
        self.0.lock()
    }

    /// Has it written, by who writes already or by somebody new.
    fn save(&self, open: &mut Open) {
        open.unsaved = true;
        if !mem::replace(&mut open.saving, true) {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("report".into()).spawn(move || shared.write());
            // Without a thread there is no report; the next fact tries again.
            open.saving = thread.is_ok();
        }
    }
}

#[cfg(test)]
mod tests;
