//! `drill`: starts a throw-away sandbox, hangs it, has containerd end it, measures, and removes all of it. What was
//! started is known by its name alone, which lies in a folder of root's before anything is started: so what is removed at
//! the end, after an interrupt and by the next drill is removed in the same way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use runsc_guard_core::policy::budgets;
use runsc_guard_node::config::{self, Config};
use runsc_guard_sandbox::sys::kernel::PidFd;

use crate::args::{Drill, Form, Scope};
use crate::bounded::Later;
use crate::commands::FAILED;
use crate::containerd::search::{self, Said};
use crate::screen;
use crate::survey::model::Guard;
use crate::survey::sight;

mod clear;
mod handler;
mod interrupt;
mod inventory;
mod outcome;
mod pod;
mod room;
mod story;
mod subject;
mod task;

use handler::Chosen;
use interrupt::Interrupt;
use inventory::Inventory;
use outcome::{Measured, Outcome, maybe_ms, verdict};
use room::Room;
use story::{Story, ms, seconds};
use subject::Subject;

/// Another one is started where somebody else has ended it before it was hung: a kubelet ends every pod that it does not
/// know, looking every two seconds.
const TRIES: usize = 5;
/// How long after the promise it is watched.
const MARGIN: Duration = Duration::from_secs(4);
/// How long it may take until it is seen that it runs.
const RUNS: Duration = Duration::from_secs(10);
/// How often containerd is asked again that has answered with an error: a kubelet does no better.
const AGAIN: Duration = Duration::from_millis(500);
/// What containerd may take to say that it is there.
const ANSWERS: Duration = Duration::from_secs(5);
/// How often is looked.
const LOOKS: Duration = Duration::from_millis(10);

/// Runs it; success when the promise was kept.
pub(crate) fn run(scope: &Scope, args: &Drill) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "drill must be run as root: it starts a sandbox and stops its kernel"
    );
    sight::clear()?;
    let interrupt = Interrupt::watch()?;
    let said = Said { address: args.address.clone(), ..Said::default() };
    let address = search::find(&said, Instant::now() + ANSWERS).containerd.address;
    let address =
        address.canonicalize().with_context(|| format!("containerd's socket {}", address.display()))?;
    let story = Story::begin(args.output);
    let room = Room::enter(&address)?;
    let stage = Stage { scope, address: &address, story: &story, interrupt: &interrupt };
    stage.clear_leftovers(&room)?;
    let trial = Trial::of(handler::choose(&address, args)?)?;
    story.print(&trial.title(&address));
    let outcome = stage.rehearse(&room, &trial)?;
    match args.output {
        Form::Json => {
            screen::write(&(serde_json::to_string_pretty(&outcome)? + "\n"))?;
        }
        Form::Text => {
            story.print(&outcome.line());
            outcome.report.iter().for_each(|report| story.print(&format!("report: {}", report.display())));
        }
    }
    // As a shell has it.
    let signal = interrupt.signal().and_then(|signal| u8::try_from(128 + signal).ok());
    Ok(match signal {
        Some(code) => ExitCode::from(code),
        None if outcome.kept => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    })
}

/// What everything here needs.
struct Stage<'a> {
    scope: &'a Scope,
    address: &'a Path,
    story: &'a Story,
    interrupt: &'a Interrupt,
}

/// What is tried, and what it has to keep to.
struct Trial {
    handler: Chosen,
    report_dir: PathBuf,
    promise: Duration,
}

impl Trial {
    fn of(handler: Chosen) -> Result<Self> {
        let Config { policy, report_dir, .. } = config::load(handler.guards_config.as_deref())?;
        let promise = policy.query_deadline + policy.kill_deadline + budgets::TOTAL;
        Ok(Self { handler, report_dir, promise })
    }

    fn title(&self, address: &Path) -> String {
        let Chosen { name, runtime_type, kind, .. } = &self.handler;
        let name = if name.is_empty() { String::new() } else { format!("handler {name}, ") };
        let (kind, within) = (kind.word(), seconds(self.promise));
        format!(
            "Drill with a {kind} ({name}{runtime_type}) at {}: ended within {within}, nothing left?",
            address.display()
        )
    }
}

/// A sandbox that hangs.
struct Hung {
    id: String,
    sentry: PidFd,
    inventory: Inventory,
}

impl Stage<'_> {
    fn rehearse(&self, room: &Room, trial: &Trial) -> Result<Outcome> {
        for _ in 0..TRIES {
            let subject = Subject::new(self.address, trial.handler.kind, room.make()?);
            let hung = self.start(&subject, &trial.handler);
            let measured = match &hung {
                Ok(Some(hung)) => self.measure(&subject, hung, trial.promise),
                _ => Measured { interrupted: self.interrupt.signal(), ..Measured::default() },
            };
            if let Ok(Some(hung)) = &hung {
                self.free(&subject, hung, &measured, &trial.report_dir);
            }
            let mut left = self.clear(&subject);
            if let Ok(Some(hung)) = &hung {
                left.extend(self.gone(&hung.inventory));
            }
            if left.is_empty() {
                subject.forget().context("what the drill itself has made")?;
            }
            let hung = match hung {
                Ok(hung) => hung,
                Err(error) if left.is_empty() => return Err(error),
                Err(error) => bail!("{error:#}; and this is left: {}", left.join("; ")),
            };
            if hung.is_none() && measured.interrupted.is_none() && left.is_empty() {
                self.story.tell("somebody else has ended it already (a kubelet ends pods that it does not know); once more");
                continue;
            }
            let id = hung.map(|hung| hung.id).unwrap_or_default();
            return Ok(self.outcome(trial, subject.namespace(), id, &measured, left));
        }
        bail!("somebody else has ended each of {TRIES} sandboxes before it could be hung; use --via task")
    }

    /// Starts it and hangs it; nothing if it is gone before, or the drill is interrupted.
    fn start(&self, subject: &Subject, handler: &Chosen) -> Result<Option<Hung>> {
        let id = subject.start(handler)?;
        if self.interrupt.signal().is_some() {
            return Ok(None);
        }
        let deadline = Instant::now() + RUNS;
        let (found, sentry) = loop {
            let found = subject.look(self.scope)?.map(|sandbox| sandbox.found).filter(|found| found.id == id);
            // On a crowded node a look is not told everything in its time.
            let sentry = found.as_ref().context("it is not to be seen").and_then(subject::sentry);
            match (found, sentry) {
                (Some(found), Ok(sentry)) => break (found, sentry),
                _ if subject.ids()?.is_empty() => return Ok(None),
                (_, Err(why)) if Instant::now() >= deadline => {
                    bail!("{id} was started, and after {} s {why:#}", RUNS.as_secs())
                }
                _ => std::thread::sleep(LOOKS),
            }
        };
        let is_guarded = found.guard != Guard::None;
        ensure!(
            is_guarded == (handler.runtime_type == crate::containerd::files::GUARDS_TYPE),
            "{id} was started by {}, and {}",
            handler.runtime_type,
            if is_guarded { "a guard keeps it" } else { "no guard keeps it" }
        );
        let inventory = Inventory::of(&found);
        let pid = found.sentry.as_ref().map(|sentry| sentry.identity.pid).unwrap_or_default();
        self.story.tell(&format!("{} {id} runs: {}", handler.kind.word(), inventory.summary()));
        match subject::hang(&found, &sentry) {
            Err(_) if subject.ids()?.is_empty() => return Ok(None),
            other => other?,
        }
        self.story.tell(&format!("its sentry {pid} is stopped (SIGSTOP) and answers nothing from now on"));
        Ok(Some(Hung { id, sentry, inventory }))
    }

    /// Asks containerd for the end, as often as it answers with an error, and watches.
    fn measure(&self, subject: &Subject, hung: &Hung, promise: Duration) -> Measured {
        let limit = promise + MARGIN;
        let ask = || {
            let (subject, id) = (subject.clone(), hung.id.clone());
            Some(Later::begin(move || subject.stop(&id, limit)))
        };
        let (asked, mut measured) = (Instant::now(), Measured { asked: 1, ..Measured::default() });
        self.story.tell("containerd is asked to end it");
        let (mut answer, mut again) = (ask(), None);
        while asked.elapsed() < limit && (measured.ended.is_none() || measured.answered.is_none()) {
            measured.interrupted = self.interrupt.signal();
            if measured.interrupted.is_some() {
                break;
            }
            if measured.ended.is_none() && hung.sentry.is_dead() {
                measured.ended = Some(asked.elapsed());
                self.story.tell("the sentry is dead");
            }
            match answer.as_ref().and_then(Later::poll) {
                Some(Ok(())) => {
                    measured.answered = Some(asked.elapsed());
                    self.story.tell("containerd says that it has ended");
                    answer = None;
                }
                Some(Err(error)) => {
                    let error = format!("{error:#}");
                    if measured.refused.as_ref() != Some(&error) {
                        self.story.tell(&format!("containerd fails to end it: {error}"));
                    }
                    (measured.refused, answer, again) = (Some(error), None, Some(Instant::now() + AGAIN));
                }
                None if again.is_some_and(|again| Instant::now() >= again) => {
                    (answer, again) = (ask(), None);
                    measured.asked += 1;
                }
                None => std::thread::sleep(LOOKS),
            }
        }
        measured
    }

    /// Lets one go that containerd has not ended: an interrupted one goes on and can end by itself, another one is ended
    /// as `reap` would.
    fn free(&self, subject: &Subject, hung: &Hung, measured: &Measured, report_dir: &Path) {
        if hung.sentry.is_dead() {
            return;
        }
        if measured.interrupted.is_some() {
            self.story.tell("interrupted: its sentry goes on (SIGCONT), and it is removed");
            subject::resume(&hung.sentry);
            return;
        }
        let requests = match measured.asked {
            1 => "the request".to_owned(),
            asked => format!("{asked} requests"),
        };
        self.story.tell(&format!("it still hangs after {requests}; it is ended as `runsc-guard reap` would"));
        self.reap(subject, report_dir);
    }

    fn outcome(
        &self,
        trial: &Trial,
        namespace: &'static str,
        id: String,
        measured: &Measured,
        left: Vec<String>,
    ) -> Outcome {
        let why_not = verdict(measured, trial.promise, &left);
        Outcome {
            kept: why_not.is_none(),
            why_not,
            handler: trial.handler.name.clone(),
            runtime_type: trial.handler.runtime_type,
            kind: trial.handler.kind.word(),
            namespace,
            promise_ms: ms(trial.promise),
            ended_ms: maybe_ms(measured.ended),
            answered_ms: maybe_ms(measured.answered),
            asked: measured.asked,
            left,
            report: report(&trial.report_dir, namespace, &id),
            happened: self.story.moments(),
            id,
        }
    }
}

/// The newest report of this sandbox.
fn report(folder: &Path, namespace: &str, id: &str) -> Option<PathBuf> {
    let name = format!("-{namespace}-{id}.json");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| !id.is_empty() && path.to_string_lossy().ends_with(&name)).max()
}
