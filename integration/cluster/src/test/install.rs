//! Onto the node, and off it.

use super::typed;
use crate::{
    cluster::Cluster,
    stage::{BARE, GRACE, GUARDED},
};
use anyhow::{Context as _, Result, ensure};
use harness::{AT_LAST, LATER, Outcome, eventually};
use std::time::Duration;

pub(super) const INSTALL: &str = "hack/kubernetes/image";
pub(super) const UNINSTALL: &str = "helm upgrade";
/// What the guard may take for one container, with the kubelet's own time.
pub(super) const GONE: Duration = Duration::from_secs(GRACE + 10 + 2 + 8);

impl Cluster {
    /// All that an installer may change on the node, with which containerd runs.
    fn node_files(&self) -> Result<String> {
        self.does(
            "sha256sum /etc/containerd/config.toml; ls /etc/containerd /etc/containerd/conf.d /usr/local/bin; \
             cat /run/containerd.pid",
        )
    }

    /// Waits until the DaemonSet's pod says so in its message.
    fn installer_says(&self, words: &[&str]) -> Result<String> {
        let command = typed::commands("A node that hangs already", "kubectl")?.concat();
        let told = eventually(AT_LAST, &format!("the installer says {words:?}"), || {
            let told = self.types_of_page(&command).and_then(Outcome::ok).ok()?;
            words.iter().all(|word| told.contains(word)).then_some(told)
        })
        .with_context(|| self.installers_words())?;
        println!("   $ {command}");
        told.lines()
            .filter(|line| words.iter().any(|word| line.contains(word)))
            .for_each(|line| println!("     {line}"));
        Ok(told)
    }

    /// What the kubelet would do by itself, minutes later.
    fn tried_at_once(&self) -> Result<()> {
        self.does("kubectl -n runsc-guard delete pods -l app.kubernetes.io/name=runsc-guard").map(drop)
    }
}

/// The problem is there before the guard.
pub(super) fn on_a_node_that_hangs(cluster: &Cluster) -> Result<()> {
    cluster.does("kubectl label node node gvisor=yes")?;
    cluster.create_bare_class()?;
    cluster.start_pod("before", BARE)?;
    let before = cluster.node_files()?;
    cluster.wedge("before")?;
    cluster.does("kubectl delete pod before --wait=false")?;
    cluster.does_block("Install", INSTALL)?;
    cluster.installer_says(&["default/before", "stopped (state T)", "Nothing was changed", "--reap"])?;
    ensure!(cluster.node_files()? == before, "it has changed something all the same");

    cluster.does(
        "kubectl runsc_guard --node node --image 127.0.0.1:5000/runsc-guard:0.1.0 reap --wedged --yes",
    )?;
    cluster.gone("before", LATER)?;
    cluster.tried_at_once()?;
    cluster.rolled_out()
}

/// As the page has it.
pub(super) fn verified(cluster: &Cluster) -> Result<()> {
    let told = cluster.does_block("Verify", "kubectl")?;
    ensure!(told[1].contains("restarted, knows runsc-guard"), "{told:#?}");
    for command in [
        "kubectl runsc_guard ls",
        "kubectl runsc_guard doctor",
        "kubectl runsc_guard reports",
        "kubectl runsc_guard reap",
    ] {
        let told = cluster.types_of_block("kubectl runsc_guard", "kubectl runsc_guard ls", command)?;
        ensure!(told.len() == 1 && told[0].success(), "{told:?}");
    }
    Ok(())
}

/// A sandbox of the handler's is hung and must end; and where the handler does not work, the test fails and says why.
pub(super) fn drilled(cluster: &Cluster) -> Result<()> {
    let tested = cluster.does_block("Verify", "helm test")?.concat();
    ensure!(tested.contains("Succeeded"), "{tested}");
    cluster.does("mv /usr/local/bin/containerd-shim-runsc-guard-v2 /usr/local/bin/away")?;
    let failed = cluster.types_of_block("Verify", "helm test", "helm test");
    cluster.does("mv /usr/local/bin/away /usr/local/bin/containerd-shim-runsc-guard-v2")?;
    let failed = failed?.remove(0);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    ensure!(!failed.success() && said.contains("containerd-shim-runsc-guard-v2"), "{said}");
    Ok(())
}

/// The DaemonSet takes the pod's place of a class that clusters have; both ways.
pub(super) fn the_class_that_was_there(cluster: &Cluster) -> Result<()> {
    cluster.start_pod("mover", BARE)?;
    let sentry = |pod: &str| {
        Ok::<_, anyhow::Error>(cluster.sandbox(pod)?.context("no sandbox")?["sentry"]["identity"].clone())
    };
    let before = sentry("mover")?;
    cluster.does_block("The class that you have", "kubectl delete runtimeclass")?;
    cluster.rolled_out()?;
    ensure!(sentry("mover")? == before, "a pod that runs was touched");
    cluster.start_pod("moved", BARE)?;
    let moved = cluster.sandbox("moved")?.context("no sandbox")?;
    ensure!(moved["guard"].get("says").is_some(), "{moved}");
    cluster.does("kubectl delete pod mover moved")?;
    cluster.does("helm rollback runsc-guard --namespace runsc-guard")?;
    cluster.create_bare_class()?;
    cluster.rolled_out()?;
    ensure!(cluster.get(&format!("runtimeclass {GUARDED}"))?.is_some(), "the chart's class is not back");
    Ok(())
}

/// Whoever comes after a killed one ends as if it had not been.
pub(super) fn interrupted(cluster: &Cluster) -> Result<()> {
    for after in ["0.2", "0.5", "1"] {
        cluster.does("kubectl -n runsc-guard delete pods -l app.kubernetes.io/name=runsc-guard --wait=false --grace-period=0 --force")?;
        cluster
            .does(&format!("sleep {after}; pkill -KILL -f '^/runsc-guard --root=/host install' || true"))?;
    }
    cluster.rolled_out()?;
    cluster.does("ctr plugins ls >/dev/null && containerd config dump | grep -c runtimes.runsc-guard")?;
    Ok(())
}

/// By the page, and with a pod that needs the guard.
pub(super) fn uninstalled(cluster: &Cluster) -> Result<()> {
    cluster.start_pod("last", GUARDED)?;
    cluster.types_of_block("Uninstall", UNINSTALL, "helm upgrade")?.remove(0).ok()?;
    cluster.installer_says(&["guarded pods are there", "uninstall"])?;
    ensure!(cluster.get(&format!("runtimeclass {GUARDED}"))?.is_none(), "pods can still come");
    cluster.wedge("last")?;
    cluster.does("kubectl delete pod last --wait=false")?;
    cluster.gone("last", GONE)?;
    cluster.tried_at_once()?;
    for command in ["kubectl --namespace", "helm uninstall", "kubectl delete"] {
        cluster.types_of_block("Uninstall", UNINSTALL, command)?.remove(0).ok()?;
    }
    cleaned(cluster)
}

/// Nothing is left of it, on the node and in the cluster.
fn cleaned(cluster: &Cluster) -> Result<()> {
    let files = cluster.node_files()?;
    ensure!(!files.contains("runsc-guard"), "{files}");
    let known = cluster.does("containerd config dump")?;
    ensure!(!known.contains("runtimes.runsc-guard"), "containerd's configuration has it still");
    let node = cluster.get("node node")?.context("no node")?;
    ensure!(node["metadata"]["labels"].get("runsc-guard/ready").is_none(), "{}", node["metadata"]["labels"]);
    let left = cluster.does(
        "kubectl get clusterroles,clusterrolebindings,runtimeclasses,namespaces -o name | grep runsc-guard || true",
    )?;
    ensure!(left.is_empty(), "left in the cluster: {left}");
    Ok(())
}

/// What holds containerd up is ended by the DaemonSet itself, as the page says; and off again.
pub(super) fn with_reap(cluster: &Cluster) -> Result<()> {
    cluster.start_pod("before", BARE)?;
    cluster.wedge("before")?;
    cluster.does("kubectl delete pod before --wait=false")?;
    cluster.does_block("Install", INSTALL)?;
    cluster.installer_says(&["default/before", "Nothing was changed"])?;
    cluster.does_block("A node that hangs already", "helm upgrade")?;
    cluster.rolled_out()?;
    let said = cluster.does("kubectl -n runsc-guard logs daemonset/runsc-guard -c reap")?;
    ensure!(said.contains("before"), "{said}");
    cluster.gone("before", LATER)?;
    cluster.does_block("Uninstall", UNINSTALL)?;
    cleaned(cluster)
}

/// The second time, and without a wedge.
pub(super) fn once_more(cluster: &Cluster) -> Result<()> {
    let before = cluster.node_files()?;
    cluster.does_block("Install", INSTALL)?;
    cluster.rolled_out()?;
    cluster.start_pod("again", GUARDED)?;
    cluster.does("kubectl delete pod again")?;
    cluster.does_block("Uninstall", UNINSTALL)?;
    cleaned(cluster)?;
    let without_pid = |files: &str| {
        files.lines().filter(|line| line.parse::<u32>().is_err()).collect::<Vec<_>>().join("\n")
    };
    ensure!(without_pid(&cluster.node_files()?) == without_pid(&before), "the node is not as it was");
    let left = cluster.does("kubectl get pods --all-namespaces -o name")?;
    ensure!(left.is_empty(), "pods are left: {left}");
    Ok(())
}
