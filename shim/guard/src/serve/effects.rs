//! The escalation's steps and the probes, each in a thread of its own that may be abandoned when it takes too
//! long; the result comes back as an input.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{Input, ProbeResult, Step, StepResult};
use runsc_guard_core::policy::budgets;
use tokio::sync::mpsc::UnboundedSender;

mod apart;

pub(crate) use apart::await_stuck;

use super::last_words::LastWords;
use super::message::Message;
use super::telemetry::report_writer::ReportWriter;
use super::{encode, probe};
use runsc_guard_node::config::Config;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::diagnostics::control::Control;
use runsc_guard_sandbox::diagnostics::processes::{ask_for_goroutines, diagnostics};
use runsc_guard_sandbox::diagnostics::stacks;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::resources::held::Resources;
use runsc_guard_sandbox::resources::inventory::Released;
use runsc_guard_sandbox::sys::procfs;
use runsc_guard_sandbox::teardown::kill::kill_commands;
use runsc_guard_sandbox::teardown::leftover::words;
use runsc_guard_sandbox::teardown::sequence::{Observer, Sequence};
use runsc_guard_sandbox::teardown::stuck::StuckProcess;
use runsc_guard_sandbox::teardown::verify::release_and_verify;

/// What of step 1 is left for putting away what was seen.
const PUT_AWAY: Duration = Duration::from_millis(20);
/// How long what a Create began is looked at before it is killed.
const LOOK: Duration = Duration::from_millis(100);

/// The steps of [`Sequence`], as the core decides; the report is told.
#[derive(Clone)]
pub(crate) struct Escalation {
    sequence: Sequence,
    runsc: PathBuf,
    report: ReportWriter,
    reports: UnboundedSender<Message>,
    /// What is to be said to the owners of its containers before these are ended.
    last_words: Option<LastWords>,
}

impl Escalation {
    pub(crate) fn new(config: &Config, report: ReportWriter, reports: UnboundedSender<Message>) -> Self {
        let runsc = config.runsc_binary.clone().into();
        Self { sequence: Sequence::new(config.into()), runsc, report, reports, last_words: None }
    }

    /// It begins, and first of all says this.
    pub(crate) fn begins(&mut self, last_words: LastWords) {
        self.last_words = Some(last_words);
    }

    fn perform(
        &self,
        step: Step,
        scope: &Scope,
        deadline: Instant,
        unkillable: &mut Vec<StuckProcess>,
    ) -> StepResult {
        let scopes = std::slice::from_ref(scope);
        match step {
            Step::Diagnose => {
                self.last_words.iter().for_each(LastWords::say);
                self.sequence.learn(scopes);
                self.look(scope, &find::find(scope), deadline);
                StepResult::Diagnosed
            }
            Step::Watch => {
                // Nothing is learned for an escalation that may never begin, or begin with other containers.
                self.look(scope, &find::find(scope), deadline);
                StepResult::Watched
            }
            Step::KillSandbox => {
                let hunted = self.sequence.kill_sandbox(scopes, deadline);
                StepResult::SandboxKilled { left: words(&hunted.left), cannot_report: hunted.cannot_report() }
            }
            Step::KillAll => {
                *unkillable = self.sequence.kill_all(scopes, deadline, budgets::OVERLOAD, &self.report);
                StepResult::AllKilled { left: words(unkillable), at_ns: encode::wall_clock_ns() }
            }
            Step::KillCreate(container) => {
                self.observe(&find::find(scope), deadline.min(Instant::now() + LOOK));
                let stuck = self.end_create(scope, &container, deadline);
                StepResult::CreateKilled { container, stuck }
            }
            Step::ReleaseOne(container) => {
                self.observe(&find::find(scope), deadline.min(Instant::now() + LOOK));
                let left = self.release_one(scope, &container, deadline);
                StepResult::ReleasedOne { container, left, at_ns: encode::wall_clock_ns() }
            }
            Step::Release => {
                let left = self.sequence.release(scopes, deadline, &self.report);
                StepResult::Released { left: left.iter().map(ToString::to_string).collect() }
            }
            Step::Unblock => {
                let (left, undecided) = self.sequence.unblock(scopes, deadline, &self.report);
                StepResult::Unblocked { left: words(&left), undecided }
            }
        }
    }

    /// Step 1. The sentry is asked while the host's side is looked at, and given up with this step: what is killed
    /// next answers nobody.
    fn look(&self, scope: &Scope, found: &[Process], deadline: Instant) {
        let deadline = deadline.checked_sub(PUT_AWAY).unwrap_or(deadline);
        thread::scope(|threads| {
            let id = scope.sandbox_id().unwrap_or_default();
            let asks = || self.report.told(stacks::ask(&self.runsc, &scope.runsc_root, id, found, deadline));
            if let Err(error) = thread::Builder::new().name("stacks".into()).spawn_scoped(threads, asks) {
                log::warn!("the sentry is not asked for its stacks: {error}");
            }
            self.observe(found, deadline);
        });
    }

    /// What the host's side and the real shim tell.
    fn observe(&self, found: &[Process], deadline: Instant) {
        let asked = ask_for_goroutines(found);
        self.report.saw(diagnostics(found, deadline));
        if asked {
            // What is killed next is what it waits for: later it would tell of something else.
            self.report.await_goroutines(deadline);
        }
    }

    /// Ends what one Create began and releases what it held; says where it hung.
    fn end_create(&self, scope: &Scope, container: &str, deadline: Instant) -> String {
        let Some(member) = scope.members.iter().find(|member| member.id == container) else {
            return "nothing of it was found".to_owned();
        };
        let mut resources = Resources::of(scope, std::slice::from_ref(member));
        let stuck = where_create_hangs(scope, container);
        let mut left = words(&self.sequence.kill_create(scope, member, deadline));
        if left.is_empty() {
            let leftover = release_and_verify(scope, &mut resources, deadline, &self.report);
            left = words(&leftover);
        }
        self.report.is_stuck(&left);
        if left.is_empty() { stuck } else { format!("{stuck}; left behind: {}", left.join("; ")) }
    }

    /// Releases what one container held that has ended, under a sandbox that lives on.
    fn release_one(&self, scope: &Scope, container: &str, deadline: Instant) -> Vec<String> {
        let Some(member) = scope.members.iter().find(|member| member.id == container) else {
            return Vec::new();
        };
        let mut resources = Resources::of(scope, std::slice::from_ref(member));
        kill_commands(scope, member, deadline.min(Instant::now() + LOOK));
        words(&release_and_verify(scope, &mut resources, deadline, &self.report))
    }
}

impl Observer for ReportWriter {
    fn listens(&self) -> bool {
        self.is_open()
    }

    fn happened(&self, line: &str) {
        Self::happened(self, line);
    }

    fn released(&self, released: Vec<Released>) {
        Self::released(self, released);
    }
}

fn where_create_hangs(scope: &Scope, container: &str) -> String {
    let processes = find::find(scope);
    let command = processes.iter().find(|process| {
        matches!(&process.role, Role::Runsc(subcommand) if subcommand == "create")
            && process.container().is_some_and(|id| id == container)
    });
    match command {
        Some(command) => {
            let below = |process: &&Process| process.parent == command.identity.pid;
            let prewarmer = processes.iter().filter(below).find(|process| process.is_in_prewarmer());
            let prewarmer = prewarmer.map(|process| {
                format!(
                    ", whose sandbox is still in its prewarmer ({}): look at gvisor-bin/ beside runsc",
                    whereabouts(process)
                )
            });
            format!("runsc create ({}){}", whereabouts(command), prewarmer.unwrap_or_default())
        }
        // runsc create has returned or was never run: the shim itself waits, for the sandbox to close the
        // output that it inherited, for a FIFO's other end, or for a mount.
        None => "the real shim itself, no runsc create is running: either the sandbox holds runsc create's \
                 output (a task without a terminal and without the annotation \
                 io.kubernetes.cri.container-type), or a rootfs mount hangs"
            .to_owned(),
    }
}

fn whereabouts(process: &Process) -> String {
    let pid = process.identity.pid;
    let wchan = procfs::wait_channel(pid).unwrap_or_else(|| "unknown".to_owned());
    format!("pid {pid}, state {}, in {wchan}", process.state)
}

/// Asks the sentry past the real shim, once. One that is not known yet cannot be asked, which says nothing of it.
pub(crate) fn probe_sentry(control: Option<Control>, timeout: Duration, reports: UnboundedSender<Message>) {
    tokio::spawn(async move {
        let heard = match control {
            Some(control) => probe::hear(control, timeout).await,
            None => ProbeResult::Slow,
        };
        let _ = reports.send(Message::Input(Input::Probed(heard)));
    });
}
