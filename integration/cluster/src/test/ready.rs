//! No pod before the handler.

use crate::{cluster::Cluster, stage::GUARDED};
use anyhow::{Context as _, Result, ensure};
use harness::{AT_LAST, eventually};
use serde_json::Value;

/// The values of the page's section, one after the other.
pub(super) fn label_class_and_taint(cluster: &Cluster) -> Result<()> {
    let node = || -> Result<Value> { cluster.get("node node")?.context("no node") };
    ensure!(node()?["metadata"]["labels"].get("runsc-guard/ready").is_none(), "it has the label before");
    cluster.does("kubectl taint node node example.org/starting=:NoSchedule")?;
    cluster.does(
        "helm upgrade runsc-guard hack/kubernetes/chart --namespace runsc-guard --reuse-values \
         --set readiness.label=true --set readiness.startupTaint=example.org/starting",
    )?;
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
