//! What the guard tells. Whatever happens is one [`Fact`], told by the driver in one place, and each [`Observer`](observer::Observer) makes
//! of it what is its own: a line of containerd's log, a count, a line of the report, an event of containerd's.

use runsc_guard_core::view::View;
use ttrpc::Response;

use super::publish::Publisher;
use super::{encode, publish};
use runsc_guard_node::params::ServeParams;

mod containerd_event;
mod dump;
pub(crate) mod fact;
mod fields;
pub(crate) mod log;
mod log_lines;
mod metrics;
mod observer;
mod rate_limit;
mod recent;
mod report;
pub(crate) mod report_writer;
mod words;

use containerd_event::ContainerdEvent;
use fact::Fact;
use log_lines::LogLines;
use metrics::Metrics;
use observer::{Observer as _, Scene};
use recent::Recent;
use report::Report;
use report_writer::ReportWriter;

/// All observers.
pub(crate) struct Telemetry {
    metrics: Metrics,
    recent: Recent,
    report: Report,
    lines: LogLines,
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
            lines: LogLines::default(),
            event: ContainerdEvent::new(publisher, &params.namespace, &params.sandbox),
            writer,
        }
    }

    /// Something has happened: all observers are told, those last who name the report.
    pub(crate) fn tell(&mut self, fact: &Fact<'_>, view: &dyn Fn() -> View) {
        // What every request passes is worth no line, and nobody need look for a report of it.
        let may_be_told = !fact.is_of_a_request();
        let before = if may_be_told { self.writer.file() } else { None };
        self.recent.take(fact);
        let scene = Scene { view, recent: &self.recent, report: before.as_ref(), escalates: false };
        self.metrics.observe(fact, &scene);
        self.report.observe(fact, &scene);
        if may_be_told {
            let report = self.writer.file().or(before.clone());
            let scene = Scene { report: report.as_ref(), escalates: self.writer.is_open(), ..scene };
            self.lines.observe(fact, &scene);
            self.event.observe(fact, &scene);
        }
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
        let to = params.place.final_metrics();
        if let Err(error) = self.metrics.send(&params.namespace, backlog, &to) {
            ::log::debug!("nobody hears what was counted: {}: {error}", to.display());
        }
    }
}
