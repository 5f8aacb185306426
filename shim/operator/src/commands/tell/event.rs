//! An escalation as Events: on the pod, and on the node. Pure.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::commands::reports::Stored;
use crate::screen::short_id;

/// Who tells.
const COMPONENT: &str = "runsc-guard";
/// The API takes no longer message.
const LONGEST: usize = 1024;
/// Of a pod's name in an Event's name, which may have 253 characters.
const NAME: usize = 200;
/// A Node has no namespace, and its Events are looked for in this one (kubelet does the same).
const OF_NODES: &str = "default";

/// The Events of a report, none while it is not over and nothing is stuck.
pub(super) fn of(stored: &Stored, node: &str) -> Vec<Value> {
    let Some(reason) = Reason::of(stored) else { return Vec::new() };
    let report = &stored.report;
    let name =
        |of: &str| format!("{}.{:x}.{}", prefix(of), report.taken_at_ns, reason.word().to_ascii_lowercase());
    let mut events = Vec::new();
    if let Some(pod) = report.pod.as_ref().filter(|pod| !pod.namespace.is_empty()) {
        let about = json!({
            "apiVersion": "v1", "kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid,
        });
        let text = message(stored, &reason, &format!("node {node}"));
        events.push(event(&pod.namespace, &name(&pod.name), &about, &reason, &text, node, stored.taken_at()));
    }
    let pod = report.pod.as_ref().map(|pod| format!("pod {}/{}", pod.namespace, pod.name));
    let whose = pod.unwrap_or_else(|| format!("{}/{}", report.namespace, report.sandbox));
    // As kubectl describe node looks for them: by the node's name as its uid.
    let about = json!({ "apiVersion": "v1", "kind": "Node", "name": node, "uid": node });
    let text = message(stored, &reason, &whose);
    events.push(event(OF_NODES, &name(node), &about, &reason, &text, node, stored.taken_at()));
    events
}

/// What an Event is about, as it stands in its column REASON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Ended by force.
    Killed,
    /// It should be, and something of it cannot be killed or removed.
    Stuck,
    /// The watchdog found it silent and left it alone.
    Silent,
}

impl Reason {
    fn of(stored: &Stored) -> Option<Self> {
        let report = &stored.report;
        match (report.only_looked, report.left.is_empty(), stored.is_over()) {
            (true, ..) => Some(Self::Silent),
            (false, false, _) => Some(Self::Stuck),
            (false, true, true) => Some(Self::Killed),
            (false, true, false) => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Killed => "SandboxKilled",
            Self::Stuck => "SandboxStuck",
            Self::Silent => "SandboxSilent",
        }
    }
}

/// What happened, why, and where more is to be read.
fn message(stored: &Stored, reason: &Reason, place: &str) -> String {
    let report = &stored.report;
    let what = match reason {
        Reason::Killed => "gVisor's sandbox did not end and was killed".to_owned(),
        Reason::Stuck => {
            format!("gVisor's sandbox did not end and cannot be killed whole: {}", report.left.join("; "))
        }
        Reason::Silent => "gVisor's sandbox does not answer; nothing was done to it".to_owned(),
    };
    let took =
        report.ended_ms.filter(|_| report.since_ms > 0).map(|ended| ended.saturating_sub(report.since_ms));
    let took = took.map(|ms| format!(" after {}.{} s", ms / 1000, ms % 1000 / 100)).unwrap_or_default();
    let because = if report.sign.is_empty() { String::new() } else { format!(": {}", report.sign) };
    let seen = if stored.verdict == report.sign { String::new() } else { format!(". {}", stored.verdict) };
    let rest = format!(" ({place}; `runsc-guard reports {}`)", short_id(&report.sandbox));
    let mut text = format!("{what}{took}{because}{seen}");
    let room = LONGEST - rest.len().min(LONGEST);
    if text.len() > room {
        let mut end = room.saturating_sub(3);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text += "...";
    }
    text + &rest
}

fn event(
    namespace: &str,
    name: &str,
    about: &Value,
    reason: &Reason,
    message: &str,
    node: &str,
    at: SystemTime,
) -> Value {
    let at = format_rfc3339_seconds(at.max(SystemTime::UNIX_EPOCH + Duration::from_secs(1))).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "namespace": namespace, "name": name },
        "involvedObject": about,
        "type": "Warning",
        "reason": reason.word(),
        "message": message,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": { "component": COMPONENT, "host": node },
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    })
}

fn prefix(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name).trim_end_matches(['-', '.'])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use runsc_guard_node::report::Report;
    use runsc_guard_sandbox::resources::spec::Pod;

    use super::*;

    fn report() -> Report {
        let mut report = Report::begin("k8s.io", "0123456789abcdef", 1_700_000_000_000_000_000);
        report.pod = Some(Pod { name: "web".into(), namespace: "shop".into(), uid: "u1".into() });
        (report.sign, report.since_ms) = ("SIGKILL had no effect".into(), 1_699_999_990_000);
        report
    }

    fn told(report: &Report) -> Vec<Value> {
        of(&Stored::of(report.clone(), Path::new("/r.json")), "n1")
    }

    #[test]
    fn an_end_is_told_once_on_the_pod_and_once_on_the_node() {
        let mut report = report();
        assert!(told(&report).is_empty(), "it is not over");
        report.ended_ms = Some(1_700_000_000_340);
        let events = told(&report);
        assert_eq!(events, told(&report), "the same names each time");
        let text = "gVisor's sandbox did not end and was killed after 10.3 s: SIGKILL had no effect";
        for (event, kind, name, namespace, place) in [
            (&events[0], "Pod", "web.17979cfe362a0000.sandboxkilled", "shop", "node n1"),
            (&events[1], "Node", "n1.17979cfe362a0000.sandboxkilled", "default", "pod shop/web"),
        ] {
            assert_eq!(
                (event["involvedObject"]["kind"].as_str(), event["reason"].as_str()),
                (Some(kind), Some("SandboxKilled"))
            );
            assert_eq!(event["metadata"], json!({ "name": name, "namespace": namespace }));
            let message = event["message"].as_str().unwrap();
            assert!(message.starts_with(text) && message.contains(place), "{message}");
            assert_eq!(event["firstTimestamp"], "2023-11-14T22:13:20Z");
        }
        report.pod = None;
        assert_eq!(told(&report).len(), 1, "of no pod, only the node is told");
    }

    #[test]
    fn what_is_stuck_or_silent_has_a_reason_of_its_own() {
        let mut report = report();
        report.left = vec!["sentry 7 (state D)".into()];
        assert_eq!(told(&report)[0]["reason"], "SandboxStuck");
        (report.left, report.only_looked, report.ended_ms) = (Vec::new(), true, Some(1_700_000_000_000));
        assert_eq!(told(&report)[0]["reason"], "SandboxSilent");
    }

    #[test]
    fn no_message_and_no_name_is_too_long_for_the_api() {
        let mut report = report();
        (report.sign, report.ended_ms) = ("\u{e4}".repeat(2000), Some(1_700_000_000_340));
        report.sandbox = format!("a{}", "\u{e4}".repeat(40));
        if let Some(pod) = &mut report.pod {
            pod.name = "a".repeat(199) + "." + &"b".repeat(53);
        }
        for event in told(&report) {
            let message = event["message"].as_str().unwrap();
            let shown = format!("reports a{}`)", "\u{e4}".repeat(12));
            assert!(message.len() <= LONGEST && message.ends_with(&shown), "{message}");
            assert!(event["metadata"]["name"].as_str().unwrap().len() <= 253);
            assert!(!event["metadata"]["name"].as_str().unwrap().contains(".."));
        }
    }
}
