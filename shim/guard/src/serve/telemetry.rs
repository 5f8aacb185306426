//! What the guard tells. Whatever happens is one [`Fact`], told by the driver in one place, and each [`Observer`] makes
//! of it what is its own: a line of containerd's log, a count, a line of the report, an event of containerd's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use runsc_guard_core::io::{Answer, Event, Method, Note, Request, RequestId, Step, StepResult};
use runsc_guard_core::view::View;
use ttrpc::Response;

use super::publish::Publisher;
use super::{encode, publish};
use runsc_guard_node::params::ServeParams;

mod containerd_event;
mod dump;
pub(crate) mod log;
mod metrics;
mod rate_limit;
mod recent;
mod report;
pub(crate) mod report_writer;
mod step_log;
mod words;

use containerd_event::ContainerdEvent;
use metrics::Metrics;
pub(crate) use metrics::Outcome;
use recent::Recent;
use report::Report;
use report_writer::ReportWriter;
use step_log::StepLog;

/// Something that has happened.
pub(crate) enum Fact<'a> {
    /// A request has come in.
    Asked { id: RequestId, op: &'a Request },
    /// A request is answered: its method and when it came, and how it ended.
    Answered { id: RequestId, answer: &'a Answer, of: (Method, Instant), outcome: Outcome },
    /// Nobody waits for the answer to this request any more.
    Abandoned { id: RequestId, of: Option<(Method, Instant)> },
    /// The real shim has done what a call asked for.
    Done,
    /// The real shim has published an event.
    Published { topic: &'a str, event: &'a Event },
    /// The real shim's process has ended.
    RealShimEnded(WaitStatus),
    /// A step of the escalation is about to be taken, within this time.
    StepBegins(&'a Step, Duration),
    /// A step has come back.
    StepEnds(&'a StepResult),
    /// The state machine has something to tell.
    Noted(&'a Note),
}

/// What an observer may look at beside the fact itself.
pub(crate) struct Scene<'a> {
    /// What the state machine knows now; asked for only where it is needed.
    view: &'a dyn Fn() -> View,
    /// What has happened lately.
    recent: &'a Recent,
    /// The report of the escalation that this belongs to, whether or not it is written.
    report: Option<&'a PathBuf>,
    /// That escalation is under way.
    escalates: bool,
}

/// Who makes something of what happens.
trait Observer {
    /// Something has happened.
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>);
}

/// All observers.
pub(crate) struct Telemetry {
    metrics: Metrics,
    recent: Recent,
    report: Report,
    steps: StepLog,
    event: ContainerdEvent,
    writer: ReportWriter,
}

impl Telemetry {
    /// For the sandbox that `params` tell of.
    pub(crate) fn new(writer: ReportWriter, publisher: Publisher, params: &ServeParams) -> Self {
        Self {
            metrics: Metrics::default(),
            recent: Recent::default(),
            report: Report::new(writer.clone(), &params.sandbox),
            steps: StepLog::default(),
            event: ContainerdEvent::new(publisher, &params.namespace, &params.sandbox),
            writer,
        }
    }

    /// Something has happened: all observers are told, those last who name the report.
    pub(crate) fn tell(&mut self, fact: &Fact<'_>, view: &dyn Fn() -> View) {
        let before = self.writer.file();
        self.recent.take(fact);
        let scene = Scene { view, recent: &self.recent, report: before.as_ref(), escalates: false };
        self.metrics.observe(fact, &scene);
        self.report.observe(fact, &scene);
        let report = self.writer.file().or(before.clone());
        let scene = Scene { report: report.as_ref(), escalates: self.writer.is_open(), ..scene };
        self.steps.observe(fact, &scene);
        self.event.observe(fact, &scene);
    }

    /// The answer to Status.
    pub(crate) fn status(&self, params: &ServeParams, view: View) -> Response {
        recent::response(params, view, &self.recent)
    }

    /// The answer to Metrics.
    pub(crate) fn metrics(&self, namespace: &str, backlog: publish::Backlog) -> Response {
        encode::message(&self.metrics.told(namespace, backlog))
    }

    /// What was counted, for whoever listens when the guard ends.
    pub(crate) fn send_final_metrics(&self, params: &ServeParams, backlog: publish::Backlog) {
        let to = params.place.farewells();
        if let Err(error) = self.metrics.send(&params.namespace, backlog, &to) {
            ::log::debug!("nobody hears what was counted: {}: {error}", to.display());
        }
    }
}
