//! How the node should be in Kubernetes, and what has to change for that. Pure.

use serde_json::{Value, json};

use crate::args::{Taint, Tell};

/// The label of a node whose containerd knows the handler.
const READY: &str = "runsc-guard/ready";
/// The condition.
const CONDITION: &str = "GVisorSandboxStuck";
/// Names in the condition's message.
const NAMED: usize = 5;

/// How the node should be. What is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// With the label, or without it.
    label: Option<bool>,
    /// With these taints, each or without it.
    taints: Vec<(Taint, bool)>,
    /// Without any taint that has this key.
    untainted: Option<String>,
    /// The condition.
    condition: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// Not there at all.
    Gone,
    /// There, with these sandboxes.
    Stuck(Vec<String>),
}

impl Wish {
    /// Of a node with these stuck sandboxes, and that is ready or not; what could not be seen is left as it is.
    pub(super) fn of(args: &Tell, stuck: Option<Vec<String>>, ready: Option<bool>) -> Self {
        let taint = args.taint.clone().zip(stuck.as_ref().map(|stuck| !stuck.is_empty()));
        Self {
            label: ready.filter(|_| args.ready),
            taints: taint.into_iter().collect(),
            untainted: args.startup_taint.clone().filter(|_| ready == Some(true)),
            condition: stuck.filter(|_| args.condition).map(Condition::Stuck),
        }
    }

    /// Of one that the guard leaves.
    pub(super) fn leaving(args: &Tell) -> Self {
        Self {
            label: args.ready.then_some(false),
            taints: args.taint.clone().map(|taint| (taint, false)).into_iter().collect(),
            untainted: None,
            condition: args.condition.then_some(Condition::Gone),
        }
    }

    /// Nothing is wished.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the node's metadata or its specification are concerned.
    pub(super) fn concerns_node(&self) -> bool {
        self.label.is_some() || !self.taints.is_empty() || self.untainted.is_some()
    }

    /// Whether its status is.
    pub(super) fn concerns_status(&self) -> bool {
        self.condition.is_some()
    }

    /// A JSON merge patch of the node, if it is not as it should be. It names the version that it was made of: taints are
    /// a list, and whoever else changes it meanwhile must not lose his.
    pub(super) fn patch(&self, node: &Value) -> Option<Value> {
        let mut patch = json!({});
        let labelled = node["metadata"]["labels"][READY] == "true";
        if let Some(label) = self.label.filter(|label| *label != labelled) {
            patch["metadata"]["labels"][READY] = if label { "true".into() } else { Value::Null };
        }
        let there = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let taints = self.tainted(there.clone());
        if taints != there {
            patch["spec"]["taints"] = taints.into();
        }
        if patch == json!({}) {
            return None;
        }
        patch["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"].clone();
        Some(patch)
    }

    fn tainted(&self, mut taints: Vec<Value>) -> Vec<Value> {
        if let Some(key) = &self.untainted {
            taints.retain(|one| one["key"] != key.as_str());
        }
        for (taint, wanted) in &self.taints {
            let is_it =
                |one: &Value| one["key"] == taint.key.as_str() && one["effect"] == taint.effect.as_str();
            if !wanted {
                taints.retain(|one| !is_it(one));
            } else if !taints.iter().any(is_it) {
                let mut new = json!({ "key": taint.key, "effect": taint.effect });
                if !taint.value.is_empty() {
                    new["value"] = taint.value.clone().into();
                }
                taints.push(new);
            }
        }
        taints
    }

    /// A strategic merge patch of the node's status, if it is not as it should be.
    pub(super) fn status_patch(&self, node: &Value, now: &str) -> Option<Value> {
        let conditions = node["status"]["conditions"].as_array();
        let there = conditions.into_iter().flatten().find(|one| one["type"] == CONDITION);
        let condition = match self.condition.as_ref()? {
            Condition::Gone => {
                there?;
                json!({ "type": CONDITION, "$patch": "delete" })
            }
            Condition::Stuck(stuck) => {
                let (status, reason, message) = in_words(stuck);
                if there.is_some_and(|one| one["status"] == status && one["message"] == message.as_str()) {
                    return None;
                }
                let since =
                    there.filter(|one| one["status"] == status).map(|one| one["lastTransitionTime"].clone());
                json!({
                    "type": CONDITION, "status": status, "reason": reason, "message": message,
                    "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.into()),
                })
            }
        };
        Some(json!({ "status": { "conditions": [condition] } }))
    }
}

fn in_words(stuck: &[String]) -> (&'static str, &'static str, String) {
    if stuck.is_empty() {
        return ("False", "NoSandboxStuck", "every gVisor sandbox can be ended".to_owned());
    }
    let more = stuck.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = stuck[..stuck.len().min(NAMED)].join(", ");
    let what = "the kernel does not let these sandboxes die, `runsc-guard ls` and `show` say why:";
    ("True", "SandboxUnkillable", format!("{what} {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Tell {
        Tell {
            node: "n".into(),
            handler: "h".into(),
            address: "/s".into(),
            events: false,
            condition: true,
            taint: Some("stuck=yes:NoSchedule".parse().unwrap()),
            ready: true,
            startup_taint: Some("starting".into()),
            leaving: false,
        }
    }

    /// The node as it is after a patch, as far as the tests need it.
    fn patched(node: &Value, patch: Option<Value>) -> Value {
        let mut node = node.clone();
        for (key, value) in patch.iter().flat_map(|patch| patch["metadata"]["labels"].as_object()).flatten() {
            node["metadata"]["labels"][key] = value.clone();
        }
        if let Some(taints) = patch.and_then(|patch| patch["spec"].get("taints").cloned()) {
            node["spec"]["taints"] = taints;
        }
        node
    }

    #[test]
    fn a_ready_node_is_labelled_and_its_startup_taint_goes_and_no_other() {
        let others = json!({ "key": "other", "effect": "NoSchedule" });
        let node = json!({
            "metadata": { "labels": { "a": "b" }, "resourceVersion": "7" },
            "spec": { "taints": [others, { "key": "starting", "effect": "NoExecute" }] },
        });
        let waits = Wish::of(&args(), Some(Vec::new()), Some(false));
        assert_eq!(waits.patch(&node), None);
        let ready = Wish::of(&args(), Some(Vec::new()), Some(true));
        let patch = ready.patch(&node).unwrap();
        assert_eq!(patch["metadata"], json!({ "labels": { READY: "true" }, "resourceVersion": "7" }));
        assert_eq!(patch["spec"]["taints"], json!([others]));
        let after = patched(&node, Some(patch));
        assert_eq!(ready.patch(&after), None, "told once");
        assert_eq!(
            Wish::leaving(&args()).patch(&after).unwrap()["metadata"]["labels"],
            json!({ READY: null })
        );
    }

    #[test]
    fn a_node_is_tainted_for_as_long_as_something_is_stuck_and_keeps_what_is_not_seen() {
        let node = json!({ "metadata": { "labels": { READY: "true" } }, "spec": {} });
        let stuck = Wish::of(&args(), Some(vec!["a".into()]), Some(true));
        let tainted = patched(&node, stuck.patch(&node));
        assert_eq!(
            tainted["spec"]["taints"],
            json!([{ "key": "stuck", "value": "yes", "effect": "NoSchedule" }])
        );
        assert_eq!(stuck.patch(&tainted), None);
        assert_eq!(Wish::of(&args(), None, Some(true)).patch(&tainted), None);
        let free = Wish::of(&args(), Some(Vec::new()), Some(true));
        assert_eq!(patched(&tainted, free.patch(&tainted))["spec"]["taints"], json!([]));
    }

    #[test]
    fn the_condition_keeps_the_time_of_its_last_change() {
        let of =
            |stuck: &[&str]| Wish::of(&args(), Some(stuck.iter().map(|&one| one.to_owned()).collect()), None);
        let node = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let first = of(&[]).status_patch(&node, "t1").unwrap()["status"]["conditions"][0].clone();
        assert_eq!(
            (first["status"].as_str(), first["lastTransitionTime"].as_str()),
            (Some("False"), Some("t1"))
        );
        let node = json!({ "status": { "conditions": [first] } });
        assert_eq!(of(&[]).status_patch(&node, "t2"), None);
        let second = of(&["a"]).status_patch(&node, "t3").unwrap()["status"]["conditions"][0].clone();
        assert_eq!(
            (second["status"].as_str(), second["lastTransitionTime"].as_str()),
            (Some("True"), Some("t3"))
        );
        let node = json!({ "status": { "conditions": [second] } });
        let third = of(&["a", "b"]).status_patch(&node, "t4").unwrap()["status"]["conditions"][0].clone();
        assert_eq!(
            (third["lastHeartbeatTime"].as_str(), third["lastTransitionTime"].as_str()),
            (Some("t4"), Some("t3"))
        );
        let gone = Wish::leaving(&args()).status_patch(&node, "t5").unwrap();
        assert_eq!(gone["status"]["conditions"][0]["$patch"], "delete");
        assert_eq!(Wish::leaving(&args()).status_patch(&json!({}), "t5"), None);
        let many: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
        assert!(in_words(&many).2.ends_with("s4 and 4 more"));
    }
}
