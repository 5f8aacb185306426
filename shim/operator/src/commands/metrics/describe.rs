//! Every metric: its name, its kind, its labels, what it says. The dashboard and the alert rules in
//! `hack/monitoring` may use no other.

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Metric {
    /// Sandboxes by state.
    Sandboxes,
    /// Guards by whether they answer.
    Guards,
    /// Memory of guards and real shims.
    Memory,
    /// Events that wait.
    EventsQueued,
    /// Things left behind that guards still name.
    Left,
    /// Requests by method and outcome.
    Requests,
    /// How long answers took.
    Answered,
    /// Wedges by cause.
    Wedges,
    /// Steps taken.
    Steps,
    /// How long escalations took.
    Gone,
    /// Ends that left something.
    Leftover,
    /// Events lost.
    EventsDropped,
    /// Sandboxes whose Stats went back to gVisor's shim.
    StatsRefuted,
    /// Reports on disk.
    Reports,
}

/// What kind of numbers it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// Times in buckets; only goes up.
    Histogram,
}

/// How it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    /// Without the suffix that its kind has.
    pub(super) name: &'static str,
    /// Its kind.
    pub(super) kind: Kind,
    /// Its labels.
    pub(super) labels: &'static [&'static str],
    /// What it says.
    pub(super) help: &'static str,
}

impl Metric {
    /// In the order in which they are told.
    pub(super) const ALL: [Self; 14] = [
        Self::Sandboxes,
        Self::Guards,
        Self::Memory,
        Self::EventsQueued,
        Self::Left,
        Self::Requests,
        Self::Answered,
        Self::Wedges,
        Self::Steps,
        Self::Gone,
        Self::Leftover,
        Self::EventsDropped,
        Self::StatsRefuted,
        Self::Reports,
    ];

    /// How it is told.
    pub(super) fn description(self) -> Description {
        use Kind::{Counter, Gauge, Histogram};
        let (name, kind, labels, help): (_, _, &[&str], _) = match self {
            Self::Sandboxes => (
                "runsc_guard_sandboxes",
                Gauge,
                &["namespace", "state"],
                "gVisor sandboxes on this node, guarded or not, by state as runsc-guard ls shows it.",
            ),
            Self::Guards => (
                "runsc_guard_guards",
                Gauge,
                &["namespace", "answers"],
                "Living guards by whether they answer: yes, no (within 300 ms), old (a version that counts nothing).",
            ),
            Self::Memory => (
                "runsc_guard_memory_bytes",
                Gauge,
                &["namespace", "process"],
                "Resident memory of guards and real shims, shared pages included.",
            ),
            Self::EventsQueued => (
                "runsc_guard_events_queued",
                Gauge,
                &["namespace"],
                "Events that wait in guards for containerd to take them.",
            ),
            Self::Left => (
                "runsc_guard_left_behind",
                Gauge,
                &["namespace"],
                "Processes, mounts, cgroups and files that living guards could not end or release.",
            ),
            Self::Requests => (
                "runsc_guard_requests",
                Counter,
                &["namespace", "method", "outcome"],
                "Requests of the Task API: ok and error are the real shim's answers (Stats: or the sentry's), guard and refused the guard's; abandoned: the caller has left.",
            ),
            Self::Answered => (
                "runsc_guard_request_duration_seconds",
                Histogram,
                &["namespace", "method"],
                "Time from a request to its answer, by the real shim or by the guard.",
            ),
            Self::Wedges => (
                "runsc_guard_wedges",
                Counter,
                &["namespace", "cause"],
                "Sandboxes found wedged, by cause; reaped: ended by an operator; silent_reported: reported, not ended.",
            ),
            Self::Steps => (
                "runsc_guard_steps",
                Counter,
                &["namespace", "step"],
                "Steps that guards took to end wedged sandboxes.",
            ),
            Self::Gone => (
                "runsc_guard_time_to_gone_seconds",
                Histogram,
                &["namespace"],
                "Time from the first step of the escalation to the end of a wedged sandbox.",
            ),
            Self::Leftover => (
                "runsc_guard_leftover",
                Counter,
                &["namespace"],
                "Sandboxes whose end left something behind.",
            ),
            Self::EventsDropped => (
                "runsc_guard_events_dropped",
                Counter,
                &["namespace"],
                "Events that containerd never got, because too many waited.",
            ),
            Self::StatsRefuted => (
                "runsc_guard_stats_refuted",
                Counter,
                &["namespace"],
                "Sandboxes whose Stats went back to gVisor's shim: what their sentry says was not the same, or not known.",
            ),
            Self::Reports => (
                "runsc_guard_reports",
                Counter,
                &["namespace"],
                "Reports of escalations found on disk, also of sandboxes that are gone.",
            ),
        };
        Description { name, kind, labels, help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::State;
    use runsc_guard_core::io::CauseKind;
    use std::collections::BTreeSet;

    /// Every name as a query sees it.
    fn series() -> BTreeSet<String> {
        let of = |metric: Metric| {
            let Description { name, kind, .. } = metric.description();
            let suffixes: &[&str] = match kind {
                Kind::Gauge => &[""],
                Kind::Counter => &["_total"],
                Kind::Histogram => &["_bucket", "_sum", "_count"],
            };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        };
        Metric::ALL.into_iter().flat_map(of).collect()
    }

    /// Names that begin as ours do, but not those of recording rules, which have a colon.
    fn used(text: &str) -> BTreeSet<String> {
        let words = text.split(|one: char| !(one.is_ascii_alphanumeric() || "_:".contains(one)));
        words.filter(|word| word.starts_with("runsc_guard_")).map(str::to_owned).collect()
    }

    #[test]
    fn dashboard_and_alerts_use_only_metrics_that_there_are() {
        let told = series();
        for (file, text) in [
            ("dashboard.json", include_str!("../../../../../hack/monitoring/dashboard.json")),
            ("alerts.yaml", include_str!("../../../../../hack/monitoring/alerts.yaml")),
        ] {
            let used = used(text);
            assert!(used.len() >= 5, "hack/monitoring/{file} uses next to nothing: {used:?}");
            let unknown: Vec<&String> = used.difference(&told).collect();
            assert!(unknown.is_empty(), "hack/monitoring/{file} uses what is never told: {unknown:?}");
        }
    }

    #[test]
    fn the_pages_tell_of_each_of_them_and_of_each_label() {
        let page = include_str!("../../../../../hack/docs/metrics.md");
        let unknown: Vec<String> = used(page).difference(&series()).cloned().collect();
        // A histogram goes by its own name there.
        let histograms = ["runsc_guard_request_duration_seconds", "runsc_guard_time_to_gone_seconds"];
        assert_eq!(unknown, histograms);
        for Description { name, labels, .. } in Metric::ALL.map(Metric::description) {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}"))).unwrap_or_default();
            let named = |label: &&&str| **label == "namespace" || row.contains(&format!("`{label}`"));
            assert!(!row.is_empty() && labels.iter().filter(named).count() == labels.len(), "{name}: {row}");
        }
        let row = |page: &str, name: &str, begin: &str| {
            assert!(page.lines().any(|line| line.starts_with(begin)), "{name} has no row");
        };
        CauseKind::ALL.iter().for_each(|kind| row(page, kind.as_str(), &format!("| `{}` |", kind.as_str())));
        let words = include_str!("../../../../../hack/docs/words.md");
        State::ALL.iter().for_each(|state| row(words, state.word(), &format!("| {} |", state.word())));
    }

    #[test]
    fn the_dashboard_shows_all_of_them() {
        let text = include_str!("../../../../../hack/monitoring/dashboard.json");
        let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
        let used = used(text);
        for metric in Metric::ALL {
            let name = metric.description().name;
            assert!(used.iter().any(|one| one.starts_with(name)), "{name} is not in the dashboard");
        }
    }
}
