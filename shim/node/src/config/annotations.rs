//! A pod may shorten its own deadlines, where `allow_annotations` lets it, and never lengthen one: rule 5.
//!
//! The annotations are those of the container that a guard is started for, which is the pod's sandbox. The times
//! in which containerd wants State, Pids, Stats and Shutdown answered are not the pod's to choose.

use std::time::Duration;

use runsc_guard_core::policy::Policy;

use super::bounds;
use super::error::shorten;
use super::keys;

/// What every key begins with; `io.containerd.runsc-guard.kill-deadline` is `kill_deadline`.
pub const PREFIX: &str = "io.containerd.runsc-guard.";
/// Mistakes told; a pod's author must not fill the node's log.
const TOLD: usize = 4;

/// What became of one annotation.
type Refused = &'static str;

/// Applies a pod's annotations and returns, in one line, those that are not heeded and why.
pub fn apply<'a>(
    policy: &mut Policy,
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    let ours =
        annotations.into_iter().filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value)));
    let ignored = ours.filter_map(|(key, name, value)| {
        let why = set(policy, name, value).err()?;
        Some(format!("{} = {:?} {why}", shorten(key), shorten(value)))
    });
    let ignored: Vec<String> = ignored.take(TOLD + 1).collect();
    // One container may not be given less than every kill is.
    policy.hard_limit = policy.hard_limit.map(|limit| limit.max(policy.kill_deadline));
    let more = if ignored.len() > TOLD { "; and more" } else { "" };
    (!ignored.is_empty()).then(|| {
        format!("annotations that are ignored: {}{more}", ignored[..ignored.len().min(TOLD)].join("; "))
    })
}

fn set(policy: &mut Policy, name: &str, value: &str) -> Result<(), Refused> {
    let key = keys::for_pods(name).ok_or("is no deadline that a pod can set")?;
    let shortened = key.shorten(policy, parse(value)?);
    shortened.then_some(()).ok_or("is longer than the operator's")
}

fn parse(value: &str) -> Result<Duration, Refused> {
    let parsed = bounds::parse(value).ok_or("is no duration such as \"1500ms\" or \"4s\"")?;
    if parsed < bounds::LEAST { Err("is shorter than 100ms") } else { Ok(parsed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(annotations: &[(&str, &str)]) -> (Policy, Option<String>) {
        let mut policy = Policy::default();
        let ignored = apply(&mut policy, annotations.iter().copied());
        (policy, ignored)
    }

    fn key(name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    #[test]
    fn each_deadline_can_be_shortened() {
        let short = Duration::from_millis(400);
        let names =
            ["create", "start", "exec", "signal", "kill", "delete"].map(|name| key(name) + "-deadline");
        let limit = key("hard-limit");
        let mut all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "400ms")).collect();
        all.push((&limit, "2s"));
        let (policy, ignored) = applied(&all);
        let expected = Policy {
            create_deadline: short,
            start_deadline: short,
            exec_deadline: short,
            signal_deadline: short,
            kill_deadline: short,
            delete_deadline: short,
            hard_limit: Some(Duration::from_secs(2)),
            ..Policy::default()
        };
        assert_eq!((policy, ignored), (expected, None));
    }

    #[test]
    fn nothing_lengthens_and_mistakes_are_told_in_one_bounded_line() {
        let long = "9".repeat(5000);
        for (name, value, why) in [
            ("kill-deadline", "1h", "is longer than the operator's"),
            ("kill-deadline", "10001ms", "is longer than the operator's"),
            ("hard-limit", "301s", "is longer than the operator's"),
            ("hard-limit", "0s", "is shorter than 100ms"),
            ("kill-deadline", "1ms", "is shorter than 100ms"),
            ("kill-deadline", "ten\nseconds", "is no duration"),
            ("kill-deadline", &long, "is no duration"),
            // humantime itself panics at this one.
            ("kill-deadline", "18446744073709551615s 1000ms", "is no duration"),
            ("delete-deadline", "", "is no duration"),
            ("query-deadline", "1s", "is no deadline that a pod can set"),
            ("kill_deadline", "1s", "is no deadline that a pod can set"),
            ("", "1s", "is no deadline that a pod can set"),
        ] {
            let (policy, ignored) = applied(&[(&key(name), value)]);
            let ignored = ignored.unwrap();
            assert_eq!(policy, Policy::default(), "{name} {value}");
            assert!(ignored.contains(why) && !ignored.contains('\n') && ignored.len() < 200, "{ignored}");
        }
        let many: Vec<String> = (0..1000).map(|number| key(&number.to_string())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "1s")).collect();
        let (_, ignored) = applied(&many);
        assert!(ignored.as_ref().unwrap().ends_with("; and more") && ignored.unwrap().len() < 600);
    }

    #[test]
    fn what_is_not_ours_is_not_looked_at_and_never_becomes_sooner() {
        assert_eq!(applied(&[("io.kubernetes.cri.sandbox-id", "x")]), (Policy::default(), None));
        let mut policy = Policy { hard_limit: None, ..Policy::default() };
        assert_eq!(apply(&mut policy, [(key("hard-limit").as_str(), "1s")]), None);
        // But a single kill's time is its least.
        assert_eq!(policy.hard_limit, Some(policy.kill_deadline));
    }
}
