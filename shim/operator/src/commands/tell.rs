//! `tell`: Kubernetes learns what happens on this node, where somebody has asked for that (the chart's `events`,
//! `nodeCondition`, `readiness`).
//!
//! ```text
//! reports --> event (pure) --\
//! survey, containerd --> node (pure) --> api
//! ```
//!
//! Nothing is remembered on disk. An Event's name follows from the report that it tells, so that the API refuses a second
//! one; and what is told of the node is compared with what the API has. So a restart repeats nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::reports::{self, Known};
use crate::args::{Scope, Tell};
use crate::containerd::live::{self, Handler};
use crate::screen;
use crate::survey::model::State;
use crate::survey::survey;

mod api;
mod event;
mod node;

pub(crate) use api::Api;
use api::Failure;
use node::Wish;

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the API is asked whether the node is still as it was told.
const AGAIN: Duration = Duration::from_secs(300);
/// How long containerd may take to say which handlers it has.
const ANSWERS: Duration = Duration::from_secs(2);
/// Events live for an hour: of what is older, nobody asks, and a name of then would be free again.
const OLD: Duration = Duration::from_secs(1800);

/// Tells until SIGTERM.
pub(crate) fn run(scope: &Scope, args: &Tell, api: Option<Api>) -> Result<ExitCode> {
    let api = api.context("no API")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if args.leaving {
        // Whoever started this tries again, and goes on only when it is done: the account goes with the guard.
        let done = runtime.block_on(api.fulfil(&args.node, &Wish::leaving(args)));
        return done
            .map(|()| ExitCode::SUCCESS)
            .with_context(|| format!("cannot take back what node {} was told", args.node));
    }
    let mut teller = Teller {
        scope: scope.clone(),
        args,
        api,
        known: Known::new(),
        waiting: BTreeMap::new(),
        told: None,
        complaints: BTreeSet::new(),
    };
    let mut term = runtime.block_on(async { signal(SignalKind::terminate()) })?;
    loop {
        teller.round(&runtime);
        let ended = runtime.block_on(async { tokio::time::timeout(PAUSE, term.recv()).await.is_ok() });
        if ended {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

struct Teller<'a> {
    scope: Scope,
    args: &'a Tell,
    api: Api,
    /// Reports that were looked at.
    known: Known,
    /// Events that the API has not taken yet, by their names.
    waiting: BTreeMap<(String, String), Value>,
    /// What the node was last told to be, and when.
    told: Option<(Wish, Instant)>,
    /// What was complained about, to say it once.
    complaints: BTreeSet<String>,
}

impl Teller<'_> {
    fn round(&mut self, runtime: &Runtime) {
        if self.args.events {
            self.collect();
            let waiting = std::mem::take(&mut self.waiting);
            for ((namespace, name), event) in waiting {
                match runtime.block_on(self.api.create_event(&namespace, &event)) {
                    // A pod's namespace may have gone with the pod.
                    Ok(()) | Err(Failure::Exists | Failure::Absent) => {}
                    Err(failure) => {
                        self.complain(&format!("cannot create Event {namespace}/{name}: {failure}"));
                        self.waiting.insert((namespace, name), event);
                    }
                }
            }
        }
        let wish = self.wish();
        let is_told = |(told, at): &(Wish, Instant)| *told == wish && at.elapsed() < AGAIN;
        if wish.is_empty() || self.told.as_ref().is_some_and(is_told) {
            return;
        }
        match runtime.block_on(self.api.fulfil(&self.args.node, &wish)) {
            Ok(()) => self.told = Some((wish, Instant::now())),
            Err(failure) => self.complain(&format!("cannot change node {}: {failure}", self.args.node)),
        }
    }

    /// Events of the reports that are new.
    fn collect(&mut self) {
        // Old reports make room for new ones.
        self.known.retain(|report: &PathBuf, _| report.exists());
        let oldest = SystemTime::now() - OLD;
        let news = reports::news(&self.scope, &mut self.known).unwrap_or_else(|blind| {
            self.complain(&blind.to_string());
            Vec::new()
        });
        for news in news.into_iter().filter(|one| one.taken_at() > oldest) {
            for event in event::of(&news, &self.args.node) {
                let of = |field: &str| event["metadata"][field].as_str().unwrap_or_default().to_owned();
                self.waiting.insert((of("namespace"), of("name")), event);
            }
        }
    }

    /// How the node should be.
    fn wish(&mut self) -> Wish {
        let args = self.args;
        let stuck = if args.condition || args.taint.is_some() { self.stuck() } else { None };
        let ready = (args.ready || args.startup_taint.is_some()).then(|| self.is_ready());
        Wish::of(args, stuck, ready)
    }

    /// The sandboxes that cannot be killed; nothing where that could not be seen.
    fn stuck(&mut self) -> Option<Vec<String>> {
        match survey(&self.scope) {
            Ok(seen) => {
                let stuck = seen.sandboxes.iter().filter(|one| one.state == State::Unkillable);
                Some(stuck.map(|one| format!("{} (pod {})", one.found.id, one.pod_name())).collect())
            }
            Err(error) => {
                self.complain(&format!("{error:#}"));
                None
            }
        }
    }

    fn is_ready(&mut self) -> bool {
        match live::handlers(&self.args.address, ANSWERS) {
            Ok(handlers) => handlers.get(&self.args.handler).is_some_and(Handler::is_guard),
            Err(error) => {
                self.complain(&format!("{error:#}"));
                false
            }
        }
    }

    fn complain(&mut self, what: &str) {
        if self.complaints.insert(what.to_owned()) {
            screen::complain(&format!("runsc-guard: {what}"));
        }
    }
}
