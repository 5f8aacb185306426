//! One look at the node in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use runsc_guard_node::client::{self, AskError};
use runsc_guard_node::paths::Place;
use runsc_guard_proto::guard::{Empty, MetricsResponse};
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::procfs;

use super::counters::Counters;
use super::describe::Metric;
use super::samples::Samples;
use crate::args::{Metrics, Scope};
use crate::commands::reports;
use crate::survey::Seen;
use crate::survey::guards::{self, ANSWER};
use crate::survey::model::{Found, Sandbox, State};

/// Looks at the node, and remembers what must not be forgotten between two looks.
pub(super) struct Gatherer {
    scope: Scope,
    report_dir: Option<PathBuf>,
    counters: Counters,
    /// Reports that were read and still lie there.
    known: reports::Known,
    /// Reports that were ever seen.
    reports: Samples,
}

impl Gatherer {
    /// Of a node that was not looked at yet.
    pub(super) fn new(scope: &Scope, args: &Metrics) -> Self {
        Self {
            scope: scope.clone(),
            report_dir: args.report_dir.clone(),
            counters: Counters::default(),
            known: reports::Known::new(),
            reports: Samples::default(),
        }
    }

    /// All that there is to tell now. `look` surveys the node.
    pub(super) fn gather(&mut self, look: impl FnOnce(&Scope) -> Result<Seen>) -> Result<Samples> {
        let mut guards = guards::known()?;
        guards.retain(|known| self.is_in_scope(&known.params.namespace));
        let asked = guards::ask_all(&guards, tally);
        let sandboxes = look(&self.scope)?.sandboxes;
        let mut words = asked.collect();
        let mut samples = Samples::default();
        let (mut living, mut heard) = (BTreeSet::new(), BTreeMap::new());
        for (guard, known) in guards.iter().filter_map(|known| Some((known.process?, known))) {
            living.insert(guard);
            let word = words.remove(&known.params.place.folder);
            of_guard(&mut samples, &known.params.namespace, guard, word.as_ref());
            heard.extend(word.and_then(Result::ok).map(|word| (guard, word)));
        }
        self.counters.update(&living, heard);
        sandboxes.iter().for_each(|sandbox| of_sandbox(&mut samples, sandbox));
        self.count_reports()?;
        samples.merge(&self.counters.totals());
        samples.merge(&self.reports);
        Ok(samples)
    }

    /// A guard's last word.
    pub(super) fn final_metrics(&mut self, word: &MetricsResponse) {
        if self.is_in_scope(&word.namespace)
            && self.counters.final_metrics(word)
            && let Ok(known) = guards::known()
        {
            let living = known.into_iter().filter_map(|known| known.process).collect();
            self.counters.update(&living, BTreeMap::new());
        }
    }

    fn is_in_scope(&self, namespace: &str) -> bool {
        self.scope.namespace.as_ref().is_none_or(|name| name == namespace)
    }

    fn count_reports(&mut self) -> Result<()> {
        for namespace in reports::new(&self.scope, self.report_dir.as_deref(), &mut self.known)? {
            self.reports.add(Metric::Reports, &[&namespace], 1);
        }
        Ok(())
    }
}

/// What one guard has counted.
fn tally(place: &Place) -> Result<MetricsResponse, AskError> {
    client::ask(&place.socket, "Metrics", &Empty::default(), Instant::now() + ANSWER)
}

fn of_guard(
    samples: &mut Samples,
    namespace: &str,
    guard: Identity,
    word: Option<&Result<MetricsResponse, AskError>>,
) {
    let answers = match word {
        Some(Ok(_)) => "yes",
        Some(Err(error)) if guards::is_unheard_of(error) => "old",
        Some(Err(_)) | None => "no",
    };
    for one in ["yes", "no", "old"] {
        samples.add(Metric::Guards, &[namespace, one], u64::from(one == answers));
    }
    samples.add(Metric::Memory, &[namespace, "guard"], procfs::resident(guard.pid).unwrap_or_default());
    let queued = word.and_then(|word| word.as_ref().ok()).map_or(0, |word| word.events_queued);
    samples.add(Metric::EventsQueued, &[namespace], queued.into());
}

fn of_sandbox(samples: &mut Samples, sandbox: &Sandbox) {
    let Found { namespace, guard, real_shims, .. } = &sandbox.found;
    for state in State::ALL {
        samples.add(Metric::Sandboxes, &[namespace, state.word()], u64::from(state == sandbox.state));
    }
    let shims = real_shims.iter().filter_map(|shim| procfs::resident(shim.identity.pid)).sum();
    samples.add(Metric::Memory, &[namespace, "real_shim"], shims);
    let left = guard.word().map_or(0, |word| word.left.len());
    samples.add(Metric::Left, &[namespace], left as u64);
    samples.add(Metric::Reports, &[namespace], 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::tests::sandbox;
    use crate::survey::model::{Guard, Word};

    #[test]
    fn sandboxes_are_told_by_state_and_every_state_is_told() {
        let mut samples = Samples::default();
        let mut stuck = sandbox("a", State::Unkillable);
        let word = Word { left: vec!["a".into(), "b".into()], ..Word::default() };
        stuck.found.guard = Guard::Says(stuck.found.real_shims[0].clone(), Box::new(word));
        for one in [stuck, sandbox("b", State::Running), sandbox("c", State::Running)] {
            of_sandbox(&mut samples, &one);
        }
        let state = |name| samples.number(Metric::Sandboxes, &["k8s.io", name]);
        assert_eq!([state("running"), state("unkillable"), state("wedged")], [Some(2), Some(1), Some(0)]);
        assert_eq!(samples.number(Metric::Left, &["k8s.io"]), Some(2));
    }

    #[test]
    fn a_guard_is_told_by_whether_it_answers() {
        let mut samples = Samples::default();
        let me = Identity::me().unwrap();
        let fine = Ok(MetricsResponse { events_queued: 7, ..MetricsResponse::default() });
        let old = Err(AskError::Status { code: 12, message: String::new() });
        for word in [None, Some(&fine), Some(&old), Some(&Err(AskError::Refused))] {
            of_guard(&mut samples, "ns", me, word);
        }
        let answers = |how| samples.number(Metric::Guards, &["ns", how]);
        assert_eq!([answers("yes"), answers("no"), answers("old")], [Some(1), Some(2), Some(1)]);
        assert_eq!(samples.number(Metric::EventsQueued, &["ns"]), Some(7));
        assert!(samples.number(Metric::Memory, &["ns", "guard"]).is_some_and(|bytes| bytes > 0));
    }
}
