//! A guarded node's life: pods hang, are deleted, come back; the chart, containerd and the kubelet change.

use super::install::GONE;
use crate::{
    cluster::Cluster,
    stage::{GUARDED, pod},
};
use anyhow::{Context as _, Result, ensure};
use harness::{
    AT_LAST, Access, Fuse, LATER, eventually,
    faults::{READS_VOLUME, VOLUME, hang_fuse},
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

/// Events about one object.
fn events(cluster: &Cluster, kind: &str, name: &str) -> Result<Vec<Value>> {
    let all = cluster.get("events")?.context("no list")?;
    let of = |one: &&Value| one["involvedObject"]["kind"] == kind && one["involvedObject"]["name"] == name;
    let ours = |one: &&Value| one["source"]["component"] == "runsc-guard";
    Ok(all["items"].as_array().into_iter().flatten().filter(of).filter(ours).cloned().collect())
}

/// The promise, as kubectl shows it.
pub(super) fn a_hung_pod_is_deleted_and_told_of(cluster: &Cluster) -> Result<()> {
    cluster.does_block("Events, a condition, a taint", "helm upgrade")?;
    cluster.rolled_out()?;
    cluster.start_pod("hung", GUARDED)?;
    cluster.wedge("hung")?;
    cluster.does("kubectl delete pod hung --wait=false")?;
    let took = cluster.gone("hung", GONE)?;
    println!("   gone after {:.1} s", took.as_secs_f64());
    eventually(LATER, "Events on pod and node", || {
        (events(cluster, "Pod", "hung").ok()?.len() == 1 && !events(cluster, "Node", "node").ok()?.is_empty())
            .then_some(())
    })
    .with_context(|| {
        cluster
            .does("kubectl get events; kubectl -n runsc-guard logs daemonset/runsc-guard -c tell")
            .unwrap_or_default()
    })?;
    let told = cluster.does("kubectl get events")?;
    ensure!(told.contains("SandboxKilled") && told.contains("did not end and was killed after"), "{told}");
    let node = cluster.does("kubectl describe node node")?;
    ensure!(node.contains("SandboxKilled") && node.contains("GVisorSandboxStuck"), "{node}");

    // A restart repeats nothing.
    let before = (events(cluster, "Pod", "hung")?, events(cluster, "Node", "node")?);
    cluster.does("kubectl -n runsc-guard delete pods -l app.kubernetes.io/name=runsc-guard")?;
    cluster.rolled_out()?;
    eventually(AT_LAST, "the new one has looked", || {
        let node = cluster.get("node node").ok()??;
        node["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|one| one["type"] == "GVisorSandboxStuck" && one["status"] == "False")
            .map(drop)
    })?;
    std::thread::sleep(Duration::from_secs(6)); // one look, which has nothing to show for it
    ensure!(
        (events(cluster, "Pod", "hung")?, events(cluster, "Node", "node")?) == before,
        "it was told again"
    );
    Ok(())
}

/// A pod that is still there is described with the reason.
pub(super) fn a_pod_that_comes_back_says_why(cluster: &Cluster) -> Result<()> {
    cluster.start_pod("back", GUARDED)?;
    cluster.wedge("back")?;
    cluster.does("kubectl runsc_guard reap --wedged --yes")?;
    let told = eventually(AT_LAST, "describe says why", || {
        cluster.does("kubectl describe pod back").ok().filter(|told| told.contains("SandboxKilled"))
    })?;
    for line in told.lines().filter(|line| line.contains("SandboxKilled")) {
        println!("   {line}");
    }
    cluster.wait_running("back")?;
    cluster.does("kubectl delete pod back")?;
    cluster.gone("back", LATER).map(drop)
}

/// Whoever runs stays, and ends under the other version.
pub(super) fn upgrade_and_rollback(cluster: &Cluster) -> Result<()> {
    cluster.start_pod("stays", GUARDED)?;
    let of = |cluster: &Cluster| {
        Ok::<_, anyhow::Error>(cluster.sandbox("stays")?.context("no sandbox")?["sentry"]["identity"].clone())
    };
    let before = of(cluster)?;
    let containerd = cluster.does("cat /run/containerd.pid")?;
    for command in ["helm upgrade", "helm rollback"] {
        cluster.types_of_block("Upgrade and downgrade", "helm upgrade", command)?.remove(0).ok()?;
        cluster.rolled_out()?;
        ensure!(of(cluster)? == before, "{command} has ended a pod");
    }
    ensure!(cluster.does("cat /run/containerd.pid")? == containerd, "containerd was restarted");
    cluster.wedge("stays")?;
    cluster.does("kubectl delete pod stays --wait=false")?;
    cluster.gone("stays", GONE).map(drop)
}

/// A drain comes to its end.
pub(super) fn drain(cluster: &Cluster) -> Result<()> {
    for name in ["hung-1", "hung-2", "well"] {
        cluster.apply(&pod(name, GUARDED))?;
    }
    for name in ["hung-1", "hung-2", "well"] {
        cluster.wait_running(name)?;
    }
    cluster.wedge("hung-1")?;
    cluster.wedge("hung-2")?;
    let limit = (GONE + Duration::from_secs(5)).as_secs();
    cluster.does(&format!("kubectl drain node --ignore-daemonsets --force --timeout={limit}s"))?;
    cluster.does("kubectl uncordon node")?;
    for name in ["hung-1", "hung-2", "well"] {
        cluster.gone(name, LATER)?;
    }
    Ok(())
}

/// Each takes up where it was.
pub(super) fn killed_in_the_middle(cluster: &Cluster) -> Result<()> {
    for service in ["containerd", "kubelet"] {
        cluster.start_pod("victim", GUARDED)?;
        cluster.wedge("victim")?;
        cluster.does("kubectl delete pod victim --wait=false")?;
        cluster.does(&format!("sleep 6; systemctl kill {service}"))?;
        let took = cluster.gone("victim", GONE + LATER)?;
        println!("   gone {:.1} s after {service} was killed", took.as_secs_f64());
        eventually(AT_LAST, "the node is ready", || {
            cluster
                .types("kubectl wait --for=condition=Ready node/node --timeout=1s")
                .ok()
                .filter(harness::Outcome::success)
        })?;
    }
    Ok(())
}

/// A hung FUSE volume that is not the pod's alone: the guard may not abort it, and says so until somebody mends it.
pub(super) fn a_pod_that_cannot_end(cluster: &Cluster) -> Result<()> {
    let events = cluster.types_of_block("Events, a condition, a taint", "helm upgrade", "helm upgrade")?;
    events.into_iter().try_for_each(|outcome| outcome.ok().map(drop))?;
    cluster.rolled_out()?;
    let source = cluster.folder().join("volume");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "well\n")?;
    let served =
        cluster.in_its_mounts(|| Fuse::serve(&source, Path::new("/srv/volume"), Access::ReadOnly))?;

    let mut stuck = pod("stuck", GUARDED);
    stuck["spec"]["containers"][0]["command"] = json!(READS_VOLUME);
    stuck["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "volume", "mountPath": VOLUME }]);
    stuck["spec"]["volumes"] = json!([{ "name": "volume", "hostPath": { "path": "/srv/volume" } }]);
    // Pod Security's baseline takes no hostPath.
    cluster.does("kubectl label namespace default pod-security.kubernetes.io/enforce=privileged")?;
    cluster.apply(&stuck)?;
    cluster.does("kubectl label namespace default pod-security.kubernetes.io/enforce-")?;
    cluster.wait_running("stuck")?;
    hang_fuse(&served)?;
    cluster.does("kubectl delete pod stuck --wait=false")?;
    let is_marked = |cluster: &Cluster, status: &str, taints: usize| {
        let node = cluster.get("node node").ok()??;
        let conditions = node["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|one| one["type"] == "GVisorSandboxStuck")?.clone();
        let tainted = node["spec"]["taints"].as_array().into_iter().flatten();
        let tainted = tainted.filter(|one| one["key"] == "example.org/stuck").count();
        (condition["status"] == status && tainted == taints).then_some(condition)
    };
    let condition = eventually(GONE + AT_LAST, "condition and taint", || is_marked(cluster, "True", 1))
        .with_context(|| format!("{:?}", cluster.sandboxes()))?;
    println!("   {}", condition["message"]);
    ensure!(condition["message"].as_str().is_some_and(|text| text.contains("default/stuck")), "{condition}");
    let told = eventually(AT_LAST, "an Event on the pod", || {
        cluster.does("kubectl describe pod stuck").ok().filter(|told| told.contains("SandboxStuck"))
    })?;
    for line in told.lines().filter(|line| line.contains("SandboxStuck")) {
        println!("   {line}");
    }
    ensure!(served.is_connected(), "the node's own mount was aborted");

    served.answer();
    cluster.gone("stuck", GONE + AT_LAST)?;
    eventually(AT_LAST, "neither condition nor taint", || is_marked(cluster, "False", 0)).map(drop)
}
