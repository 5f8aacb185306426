//! What the guard has counted since it began: requests, wedges, steps.
//!
//! Fixed arrays of counters and nothing else, so that counting allocates nothing and a pod that is polled for
//! years weighs what a new one does. Names are given to them only when somebody asks.
//!
//! At its end the guard sends them where `runsc-guard metrics --listen` may hear it: a pod lives for shorter than
//! the pause between two scrapes, and most guards end a moment after they have ended a wedged sandbox.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{Cause, CauseKind, Method, Note, StepKind};
use runsc_guard_proto::guard::{Count, MethodTally, MetricsResponse};
use runsc_guard_proto::protobuf::Message as _;

use super::fact::{Fact, Outcome};
use super::observer::{Observer, Scene};
use crate::serve::publish::Backlog;
use runsc_guard_sandbox::sys::identity::Identity;

/// Upper bounds of the buckets, in milliseconds: what a healthy answer takes, then the deadlines of State (1 s),
/// Delete (2.5 s) and SIGKILL (10 s), past which the guard has stepped in.
const BOUNDS_MS: [u32; 8] = [1, 5, 25, 100, 500, 1000, 2500, 10_000];
const BUCKETS: usize = BOUNDS_MS.len() + 1;
/// In the order of [`Outcome`].
const OUTCOMES: [&str; 5] = ["ok", "error", "guard", "refused", "abandoned"];
/// All but the look, which belongs to no escalation.
const STEPS: usize = StepKind::Watch as usize;

/// How long something took, by buckets.
#[derive(Debug, Default)]
struct Latency {
    buckets: [u32; BUCKETS],
    sum_us: u64,
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let bucket = BOUNDS_MS.partition_point(|bound| took > Duration::from_millis((*bound).into()));
        up(&mut self.buckets[bucket]);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

#[derive(Debug, Default)]
struct OfMethod {
    outcomes: [u32; OUTCOMES.len()],
    latency: Latency,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    methods: [OfMethod; Method::TASK_API.len()],
    causes: [u32; CauseKind::ALL.len()],
    steps: [u32; STEPS],
    gone: Latency,
    leftover: u32,
    stats_refuted: u32,
    /// A wedge was found and its end not reached: the steps of an ordinary end are not counted.
    escalates: bool,
}

impl Metrics {
    /// A request that came at `since` is over.
    fn request(&mut self, method: Method, since: Instant, outcome: Outcome) {
        // A private one is none of containerd's.
        let at = Method::TASK_API.iter().position(|one| *one == method);
        let Some(tally) = at.and_then(|at| self.methods.get_mut(at)) else { return };
        up(&mut tally.outcomes[outcome as usize]);
        if outcome != Outcome::Abandoned {
            tally.latency.add(since.elapsed());
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            // Told before, with where it hung.
            Note::Wedged { cause: Cause::CreateStuck(_), .. } => self.escalates = true,
            Note::Wedged { cause, .. } => {
                self.escalates = true;
                self.found(cause.kind());
            }
            Note::CreateStuck { .. } => self.found(CauseKind::CreateStuck),
            Note::ReleasedOne { left, .. } => {
                self.found(CauseKind::DeleteStuck);
                if !left.is_empty() {
                    up(&mut self.leftover);
                }
            }
            Note::Silent(_) => self.found(CauseKind::SilentReported),
            Note::Unkillable(_) => {
                if !std::mem::replace(&mut self.escalates, true) {
                    self.found(CauseKind::Unkillable);
                }
            }
            Note::Ended { took, left, unsure } => {
                if std::mem::take(&mut self.escalates) {
                    self.gone.add(*took);
                }
                if !left.is_empty() && !unsure {
                    up(&mut self.leftover);
                }
            }
            Note::ReleasedLate(left) if !left.is_empty() => up(&mut self.leftover),
            Note::ReleasedLate(_)
            | Note::RealShimDied
            | Note::NodeGoesDown
            | Note::Late(_)
            | Note::AnswersAgain(_)
            | Note::Forgotten => {}
        }
    }

    fn found(&mut self, cause: CauseKind) {
        up(&mut self.causes[cause as usize]);
    }

    fn step(&mut self, step: StepKind) {
        let counts =
            self.escalates || matches!(step, StepKind::KillCreate | StepKind::ReleaseOne | StepKind::Unblock);
        if let Some(count) = self.steps.get_mut(step as usize).filter(|_| counts) {
            up(count);
        }
    }

    /// Sends all of it. Nobody needs to hear it, and nobody is waited for.
    pub(super) fn send(&self, namespace: &str, events: Backlog, to: &Path) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(&self.told(namespace, events).write_to_bytes()?, to).map(drop)
    }

    /// All of it, by name.
    pub(super) fn told(&self, namespace: &str, events: Backlog) -> MetricsResponse {
        let methods = Method::TASK_API.iter().zip(&self.methods);
        let me = Identity::me().ok();
        MetricsResponse {
            namespace: namespace.to_owned(),
            bounds_ms: BOUNDS_MS.to_vec(),
            methods: methods.filter_map(|(method, tally)| of_method(method.as_str(), tally)).collect(),
            signs: named(&CauseKind::ALL.map(CauseKind::as_str), &self.causes),
            steps: named(&StepKind::ALL.map(StepKind::as_str), &self.steps),
            gone: self.gone.buckets.to_vec(),
            gone_us: self.gone.sum_us,
            leftover: self.leftover,
            stats_refuted: self.stats_refuted,
            events_queued: events.queued,
            events_dropped: events.dropped,
            pid: me.map_or(0, |me| me.pid),
            start_time: me.map_or(0, |me| me.start_time),
            ..MetricsResponse::default()
        }
    }
}

impl Observer for Metrics {
    fn observe(&mut self, fact: &Fact<'_>, _: &Scene<'_>) {
        match fact {
            Fact::Answered { of: (method, since), outcome, .. } => self.request(*method, *since, *outcome),
            Fact::Abandoned { of: Some((method, since)), .. } => {
                self.request(*method, *since, Outcome::Abandoned);
            }
            Fact::StepBegins(step, _) => self.step(step.kind()),
            Fact::StatsRefuted(_) => up(&mut self.stats_refuted),
            Fact::Noted(note) => self.note(note),
            Fact::Asked { .. }
            | Fact::Abandoned { of: None, .. }
            | Fact::Done
            | Fact::Published { .. }
            | Fact::RealShimEnded(_)
            | Fact::StepEnds(_) => {}
        }
    }
}

/// Nothing of a method that was not asked for, and nothing of how it never ended.
fn of_method(name: &str, tally: &OfMethod) -> Option<MethodTally> {
    let mut outcomes = named(&OUTCOMES, &tally.outcomes);
    outcomes.retain(|outcome| outcome.count > 0);
    (!outcomes.is_empty()).then(|| MethodTally {
        method: name.to_owned(),
        outcomes,
        answered: tally.latency.buckets.to_vec(),
        answered_us: tally.latency.sum_us,
        ..MethodTally::default()
    })
}

/// Counts by name; the zeros too: what an alert is to see rise must have been there before.
fn named(names: &[&str], counts: &[u32]) -> Vec<Count> {
    let count =
        |(what, count): (&&str, &u32)| Count { what: (*what).to_owned(), count: *count, ..Count::default() };
    names.iter().zip(counts).map(count).collect()
}

/// Full is full: a counter that began anew would tell of a guard that did.
fn up(count: &mut u32) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests;
