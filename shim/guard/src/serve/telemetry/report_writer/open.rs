//! An escalation that is under way, and what is known of it when it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use runsc_guard_core::io::{CauseKind, RequestId};
use runsc_guard_core::view::View;

use super::super::dump::Scanner;
use super::super::recent::{self, Recent};
use crate::serve::encode;
use runsc_guard_node::report::{Moment, Report, What};

/// Why an escalation begins.
pub(crate) struct Why<'a> {
    pub(crate) cause: CauseKind,
    pub(crate) sign: &'a str,
    pub(crate) waited: Duration,
}

/// An escalation that is under way.
pub(super) struct Open {
    pub(super) report: Report,
    pub(super) shim: Scanner,
    /// Requests that wait for their answers, in words.
    pub(super) asked: BTreeMap<RequestId, String>,
    /// It is the whole sandbox's, not that of one container's Create.
    pub(super) whole: bool,
    /// The escalation has ended and something was left, which may go yet.
    pub(super) rest: bool,
    /// What was learned since the file was written last.
    pub(super) unsaved: bool,
    /// Somebody writes.
    pub(super) saving: bool,
    /// Nothing more will be learned.
    pub(super) over: bool,
    /// runsc was asked for its version.
    pub(super) named: bool,
    /// It was told that nothing can be written.
    pub(super) complained: bool,
}

impl Open {
    /// With what is known when it begins.
    pub(super) fn of(report: Report, view: View, recent: &Recent) -> Self {
        let now_ms = now_ms();
        let mut open = Self {
            report,
            shim: Scanner::default(),
            asked: BTreeMap::new(),
            whole: false,
            rest: false,
            unsaved: false,
            saving: false,
            over: false,
            named: false,
            complained: false,
        };
        for (past, text) in recent.happenings() {
            open.report.moment(moment(now_ms, past, What::Happened, text.to_owned(), None));
        }
        for deadline in view.deadlines {
            let text = format!("{} of {}", deadline.effect.as_str(), deadline.process);
            open.report.moment(moment(now_ms, deadline.waited, What::Awaited, text, deadline.ends_in));
        }
        for call in view.calls {
            let text = format!("{} of {}", call.name(), call.process);
            open.report.moment(moment(now_ms, call.out, What::Forwarded, text, call.given_up_in));
        }
        for request in view.requests {
            let text = format!("{} of {}", request.method, request.process);
            open.report.moment(moment(
                now_ms,
                request.waited,
                What::Asked,
                text.clone(),
                request.answered_in,
            ));
            open.asked.insert(request.id, text);
        }
        open
    }

    /// Why it is; a cause that comes later is the one that counts.
    pub(super) fn because(&mut self, why: Why<'_>, now_ms: u64) {
        let (report, since_ms) = (&mut self.report, ago(now_ms, why.waited));
        why.cause.as_str().clone_into(&mut report.cause);
        why.sign.clone_into(&mut report.sign);
        report.waited_ms = recent::millis(why.waited);
        report.since_ms = if report.since_ms == 0 { since_ms } else { since_ms.min(report.since_ms) };
    }

    /// The escalation has ended with this left. What is left may go yet, so only an end without is the last word.
    pub(super) fn ends(&mut self, left: &[String]) {
        self.report.is_left(left);
        self.report.ended_ms = left.is_empty().then(now_ms);
        (self.over, self.rest) = (left.is_empty(), !left.is_empty());
    }

    /// The report as it is now.
    pub(super) fn picture(&self) -> Report {
        Report { goroutines: self.shim.dump(), ..self.report.clone() }
    }

    /// Adds a line to the timeline.
    pub(super) fn moment(&mut self, what: What, text: String) {
        self.report.moment(moment(now_ms(), Duration::ZERO, what, text, None));
    }
}

fn moment(now_ms: u64, past: Duration, what: What, text: String, due: Option<Duration>) -> Moment {
    let due_ms = due.map(|due| now_ms.saturating_add(recent::millis(due)));
    Moment { at_ms: ago(now_ms, past), what, text, due_ms }
}

fn ago(now_ms: u64, past: Duration) -> u64 {
    now_ms.saturating_sub(recent::millis(past))
}

pub(super) fn now_ms() -> u64 {
    encode::wall_clock_ns() / 1_000_000
}
