//! What is written down of a sandbox that is ended by hand, as its guard would have done.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use runsc_guard_core::io::{CauseKind, EscalationPhase, StepKind};
use runsc_guard_node::report::{Folder, Moment, Report, Step, What};
use runsc_guard_sandbox::diagnostics::processes::diagnostics;
use runsc_guard_sandbox::diagnostics::stacks;
use runsc_guard_sandbox::diagnostics::stacks::Dump;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::resources::inventory::Released;

use crate::survey::model::{Found, Sandbox, Sign};
use crate::survey::scope::scopes;

/// Looks, and touches nothing.
const EVIDENCE: Duration = Duration::from_millis(500);

/// The report, which is written anew whenever there is more to tell. What cannot be written is said once.
pub(super) struct Account {
    folder: Folder,
    report: Report,
    /// Whether the last attempt to write it succeeded, and what it said otherwise.
    pub(super) written: Result<(), String>,
}

impl Account {
    /// Begins with what can be seen before anything is touched.
    pub(super) fn begin(sandbox: &Sandbox, folder: &Path) -> Self {
        let found = &sandbox.found;
        let mut report = Report::begin(&found.namespace, &found.id, now_ms() * 1_000_000);
        report.pod = found.pod.clone();
        let signs: Vec<String> = sandbox.signs.iter().map(Sign::line).collect();
        let signs = if signs.is_empty() { String::new() } else { format!(" ({})", signs.join("; ")) };
        CauseKind::Reaped.as_str().clone_into(&mut report.cause);
        EscalationPhase::Begins.as_str().clone_into(&mut report.phase);
        (report.sign, report.since_ms) = (format!("an operator asked for its end{signs}"), now_ms());
        let mut account = Self { folder: Folder::new(folder), report, written: Ok(()) };
        account.step_begins(StepKind::Diagnose, Instant::now() + EVIDENCE);
        look(found, &mut account.report);
        account.step_ends(StepKind::Diagnose, &[]);
        account
    }

    /// How many processes were seen.
    pub(super) fn seen(&self) -> usize {
        self.report.diagnostics.processes.len() + self.report.diagnostics.omitted
    }

    /// Where it lies.
    pub(super) fn file(&self) -> String {
        self.folder.file(&self.report).display().to_string()
    }

    /// A step begins, which ought to be over by `until`.
    pub(super) fn step_begins(&mut self, step: StepKind, until: Instant) {
        let budget = until.saturating_duration_since(Instant::now()).as_millis();
        self.report.step_begins(step, now_ms(), u64::try_from(budget).unwrap_or(u64::MAX));
    }

    /// It is over, with this left.
    pub(super) fn step_ends(&mut self, step: StepKind, left: &[String]) {
        self.report.step_ends(step, now_ms(), left);
        self.write();
    }

    /// Something was done that belongs to the story.
    pub(super) fn happened(&mut self, line: &str) {
        let (at_ms, text) = (now_ms(), line.to_owned());
        self.report.moment(Moment { at_ms, what: What::Happened, text, due_ms: None });
    }

    /// What was released.
    pub(super) fn released(&mut self, released: Vec<Released>) {
        self.report.released.extend(released);
    }

    /// It is over, but for what is `left`.
    pub(super) fn end(&mut self, left: &[String]) {
        // Of what lives on nothing is released.
        let lives = |last: &Step| last.step != StepKind::Release.as_str() && !last.left.is_empty();
        let phase = match self.report.steps.last().is_some_and(lives) {
            true => EscalationPhase::Unkillable,
            false => EscalationPhase::Ends,
        };
        phase.as_str().clone_into(&mut self.report.phase);
        self.report.took_ms = Some(now_ms().saturating_sub(self.report.since_ms));
        self.report.is_left(left);
        self.report.ended_ms = left.is_empty().then(now_ms);
        self.write();
    }

    fn write(&mut self) {
        self.written = self.folder.write(&self.report).map(drop).map_err(|error| error.to_string());
    }
}

fn look(found: &Found, report: &mut Report) {
    let deadline = Instant::now() + EVIDENCE;
    let scope = scopes(found).swap_remove(0);
    let processes = find::find(&scope);
    report.diagnostics = diagnostics(&processes, deadline);
    match &found.runsc {
        Some(runsc) => {
            let told = stacks::ask(runsc, &found.runsc_root, &found.id, &processes, deadline);
            report.stacks = told.stacks;
            report.runsc_version = match told.version {
                unknown if unknown.is_empty() => {
                    stacks::version(runsc, deadline.max(Instant::now() + stacks::NAMED))
                }
                told => told,
            };
        }
        None => {
            report.stacks = Dump::none("not asked: the runsc that it runs is no file of root's here any more")
        }
    }
    if report.runsc_version.is_empty() {
        report.runsc_version = found.version.clone().unwrap_or_default();
    }
    report.goroutines.note = "not asked for: where the real shim logs to is containerd's".to_owned();
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
