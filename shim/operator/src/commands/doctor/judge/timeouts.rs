//! containerd's `[timeouts]` against the guard's deadlines: an answer after the caller has left is no answer.

use std::time::Duration;

use humantime::format_duration;
use runsc_guard_core::policy::{ANSWER_MARGIN, DELETE_BINARY, Policy, limits};

use crate::commands::doctor::facts::{Facts, Handler};
use crate::commands::doctor::finding::Finding;
use crate::containerd::files::Settings;

const ABOUT: &str = "timeouts";

/// One of containerd's timeouts, and what of the guard's must end within it.
struct Pair {
    key: &'static str,
    default: Duration,
    deadline: &'static str,
    of: fn(&Policy) -> Duration,
}

const PAIRS: [Pair; 4] = [
    Pair {
        key: "io.containerd.timeout.task.state",
        default: limits::STATE,
        deadline: "query_deadline",
        of: |policy| policy.query_deadline,
    },
    Pair {
        key: "io.containerd.timeout.metrics.shimstats",
        default: limits::STATS,
        deadline: "stats_deadline",
        of: |policy| policy.stats_deadline,
    },
    Pair {
        key: "io.containerd.timeout.shim.shutdown",
        default: limits::SHUTDOWN,
        deadline: "shutdown_deadline",
        of: |policy| policy.shutdown_deadline,
    },
    Pair {
        key: "io.containerd.timeout.shim.cleanup",
        default: limits::CLEANUP,
        deadline: "delete_deadline",
        of: |policy| policy.delete_deadline,
    },
];

pub(super) fn timeouts(facts: &Facts) -> Vec<Finding> {
    let Ok(settings) = &facts.settings else { return Vec::new() };
    let defaults = Settings::default();
    let settings = settings.as_ref().unwrap_or(&defaults);
    let file = facts.settings_file.display().to_string();
    let mut findings: Vec<Finding> = cleanup(settings, &file).into_iter().collect();
    for pair in &PAIRS {
        let guarded = facts.handlers.iter().filter(|one| one.defined.guarded && one.defined.is_read(None));
        match settings.timeout(pair.key, pair.default) {
            Ok(timeout) => findings.extend(guarded.filter_map(|one| pair.judge(one, timeout, &file))),
            Err(text) => findings.push(unusable(pair.key, &text, settings, &file)),
        }
    }
    if findings.is_empty() && facts.handlers.iter().any(|one| one.defined.guarded) {
        findings.push(Finding::ok(ABOUT, "containerd waits longer than the guard takes"));
    }
    findings
}

impl Pair {
    fn judge(&self, one: &Handler, timeout: Duration, file: &str) -> Option<Finding> {
        let deadline = (self.of)(&one.config.as_ref().ok()?.policy);
        let most = timeout.saturating_sub(ANSWER_MARGIN);
        (deadline > most).then(|| {
            let what = format!(
                "{} of handler {} is {}, and containerd gives up after {} ({})",
                self.deadline,
                one.defined.name,
                format_duration(deadline),
                format_duration(timeout),
                self.key
            );
            let longer = format_duration(deadline + ANSWER_MARGIN);
            let remedy = format!("\"{}\" = \"{longer}\" or more under [timeouts] in {file}", self.key);
            let own = one.defined.config_path.as_ref().filter(|_| !most.is_zero());
            let own = own.map(|own| {
                let most = format_duration(most);
                format!("; or {} = \"{most}\" or less under [guard] in {}", self.deadline, own.display())
            });
            Finding::fail(ABOUT, what, remedy + &own.unwrap_or_default())
        })
    }
}

/// What the guard's `delete` takes is not the operator's to set.
fn cleanup(settings: &Settings, file: &str) -> Option<Finding> {
    const KEY: &str = "io.containerd.timeout.shim.cleanup";
    let timeout = settings.timeout(KEY, limits::CLEANUP).ok()?;
    (DELETE_BINARY > timeout).then(|| {
        let what = format!(
            "the guard's `delete` may take {}, and containerd kills it after {} ({KEY})",
            format_duration(DELETE_BINARY),
            format_duration(timeout)
        );
        let default = format_duration(limits::CLEANUP);
        Finding::fail(ABOUT, what, format!("\"{KEY}\" = \"{default}\" under [timeouts] in {file}"))
    })
}

fn unusable(key: &str, text: &str, settings: &Settings, file: &str) -> Finding {
    let place = settings.timeouts.get(key).map_or(file.to_owned(), |(_, place)| place.to_string());
    let what = format!("{place}: {key} is {text:?}, which is no duration: containerd does not start with it");
    Finding::fail(ABOUT, what, format!("mend it under [timeouts] in {place}, for example \"5s\""))
}
