//! What the chart's values add or change, on the API server and on the node.

use super::install::{GONE, INSTALL, UNINSTALL};
use crate::{cluster::Cluster, stage::GUARDED};
use anyhow::{Context as _, Result, ensure};
use harness::{AT_LAST, Outcome, eventually};
use serde_json::Value;
use std::fs;

/// With the Prometheus operator's own definitions, which refuse what they do not know. Whether a packet is stopped is the
/// network's affair, and this one stops none.
pub(super) fn monitors_and_network_policy(cluster: &Cluster) -> Result<()> {
    let mut definitions = Vec::new();
    for entry in fs::read_dir(harness::monitors()?)? {
        definitions.push(serde_json::from_str::<Value>(&fs::read_to_string(entry?.path())?)?);
    }
    ensure!(definitions.len() == 2, "{} definitions", definitions.len());
    definitions.iter().try_for_each(|one| cluster.apply(one))?;
    eventually(AT_LAST, "the API has them", || {
        cluster.types("kubectl get servicemonitors,podmonitors").ok().filter(Outcome::success)
    })?;
    cluster.does_block("Metrics", "helm upgrade")?;
    cluster.rolled_out()?;
    let of = |what: &str| -> Result<Value> {
        cluster
            .get(&format!("-n runsc-guard {what} runsc-guard"))?
            .with_context(|| format!("there is no {what}"))
    };
    let pods = of("daemonset")?["spec"]["selector"]["matchLabels"].clone();
    let (pod_monitor, service_monitor) = (of("podmonitor")?, of("servicemonitor")?);
    ensure!(pod_monitor["spec"]["selector"]["matchLabels"] == pods, "other pods: {pod_monitor}");
    ensure!(service_monitor["spec"]["selector"]["matchLabels"] == pods, "another service: {service_monitor}");
    for port in [
        &pod_monitor["spec"]["podMetricsEndpoints"][0]["port"],
        &service_monitor["spec"]["endpoints"][0]["port"],
        &of("service")?["spec"]["ports"][0]["name"],
        &of("daemonset")?["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"],
    ] {
        ensure!(port == "metrics", "a port named {port}");
    }
    let policy = of("networkpolicy")?["spec"].clone();
    ensure!(
        policy["podSelector"]["matchLabels"] == pods && policy["ingress"][0]["ports"][0]["port"] == "metrics",
        "{policy}"
    );
    let from = &policy["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"];
    ensure!(from["kubernetes.io/metadata.name"] == "monitoring", "{policy}");
    Ok(())
}

/// An account, its rights and its container are there only as long as something is told.
pub(super) fn events_off(cluster: &Cluster) -> Result<()> {
    let rights = || cluster.get("clusterrole runsc-guard-runsc-guard");
    let rules = rights()?.context("no rights with events on")?["rules"].to_string();
    ensure!(rules.contains("events") && rules.contains("nodes/status"), "{rules}");
    cluster.does(
        "helm upgrade runsc-guard hack/kubernetes/chart --namespace runsc-guard --reuse-values \
         --set events.enabled=false --set nodeCondition.enabled=false",
    )?;
    cluster.rolled_out()?;
    ensure!(rights()?.is_none(), "the rights are left");
    for left in ["clusterrolebinding runsc-guard-runsc-guard", "-n runsc-guard serviceaccount runsc-guard"] {
        ensure!(cluster.get(left)?.is_none(), "there is still {left}");
    }
    cluster.start_pod("quiet", GUARDED)?;
    cluster.wedge("quiet")?;
    cluster.does("kubectl delete pod quiet --wait=false")?;
    cluster.gone("quiet", GONE)?;
    let told = cluster.does("kubectl get events --field-selector involvedObject.name=quiet")?;
    ensure!(told.contains("Killing") && !told.contains("SandboxKilled"), "{told}");
    Ok(())
}

/// No pod before the handler: the values of the page's section, one after the other.
pub(super) fn ready(cluster: &Cluster) -> Result<()> {
    let node = || -> Result<Value> { cluster.get("node node")?.context("no node") };
    ensure!(node()?["metadata"]["labels"].get("runsc-guard/ready").is_none(), "it has the label before");
    cluster.does("kubectl taint node node example.org/starting=:NoSchedule")?;
    cluster.does_block("Ready nodes", "helm upgrade")?;
    cluster.rolled_out()?;
    eventually(AT_LAST, "label and no taint", || {
        let node = node().ok()?;
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        (node["metadata"]["labels"]["runsc-guard/ready"] == "true" && taints == 0).then_some(())
    })
    .with_context(|| {
        cluster.does("kubectl -n runsc-guard logs daemonset/runsc-guard -c tell").unwrap_or_default()
    })?;
    let class = cluster.get(&format!("runtimeclass {GUARDED}"))?.context("no class")?;
    ensure!(class["scheduling"]["nodeSelector"]["runsc-guard/ready"] == "true", "{class}");
    cluster.start_pod("selected", GUARDED)?;
    cluster.does("kubectl delete pod selected").map(drop)
}

/// The places and the restart are those of the distribution, and nothing else has to be said.
pub(super) fn k3s(cluster: &Cluster) -> Result<()> {
    const FILES: &str =
        "cd /var/lib/rancher/k3s/agent/etc/containerd && find . -type f | sort | xargs sha256sum";
    cluster.does("kubectl label node node gvisor=yes")?;
    let before = cluster.does(FILES)?;
    for command in ["hack/", "crane", "kubectl"] {
        cluster.types_of_block("Install", INSTALL, command)?.remove(0).ok()?;
    }
    cluster.does_block("Nodes that differ", "helm install")?;
    cluster.rolled_out()?;
    let said = cluster.does("kubectl -n runsc-guard logs daemonset/runsc-guard -c install")?;
    ensure!(said.contains("config-v3.toml.d/runsc-guard.toml") && said.contains("restarted"), "{said}");
    cluster.does_block("Verify", "helm test")?;
    cluster.start_pod("hung", GUARDED)?;
    cluster.wedge("hung")?;
    cluster.does("kubectl delete pod hung --wait=false")?;
    cluster.gone("hung", GONE)?;
    cluster.does_block("Uninstall", UNINSTALL)?;
    ensure!(cluster.does(FILES)? == before, "k3s' files are not as they were");
    let left = cluster.does("ls /usr/local/bin | grep runsc-guard || true")?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
