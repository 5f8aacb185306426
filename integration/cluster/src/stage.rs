//! What demo and tests have on the cluster: classes, pods, their sandboxes, and what makes a sandbox hang.

use crate::cluster::Cluster;
use anyhow::{Context as _, Result};
use harness::{IMAGE, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The class that a cluster with gVisor has before anybody hears of a guard.
pub(crate) const BARE: &str = "gvisor";
/// The chart's.
pub(crate) const GUARDED: &str = "gvisor-guarded";
/// With a kubelet's back-off.
const ROLLED_OUT: Duration = Duration::from_secs(180);
/// What a pod is given to end by itself.
pub(crate) const GRACE: u64 = 5;

impl Cluster {
    /// As every cluster with gVisor has it.
    pub(crate) fn create_bare_class(&self) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": BARE }, "handler": "runsc",
        }))
    }

    /// Starts a pod under a class and waits until it runs.
    pub(crate) fn start_pod(&self, name: &str, class: &str) -> Result<()> {
        self.apply(&pod(name, class))?;
        self.wait_running(name)
    }

    /// Waits until a pod runs.
    pub(crate) fn wait_running(&self, name: &str) -> Result<()> {
        self.does(&format!("kubectl wait --for=condition=Ready pod/{name} --timeout=120s"))
            .with_context(|| {
                self.types(&format!("kubectl describe pod {name}"))
                    .map_or_else(|error| error.to_string(), |told| told.stdout)
            })
            .map(drop)
    }

    /// The sandbox of a pod in the namespace `default`, as the operator's command sees it.
    pub(crate) fn sandbox(&self, pod: &str) -> Result<Option<Value>> {
        let is_its = |one: &Value| one["pod"]["name"] == pod && one["pod"]["namespace"] == "default";
        Ok(self.sandboxes()?.into_iter().find(is_its))
    }

    /// Stops the sentry of a pod, which is what the hang looks like from outside.
    pub(crate) fn wedge(&self, pod: &str) -> Result<i64> {
        let sandbox = self.sandbox(pod)?.with_context(|| format!("{pod} has no sandbox"))?;
        let pid =
            sandbox["sentry"]["identity"]["pid"].as_i64().with_context(|| format!("no sentry: {sandbox}"))?;
        self.does(&format!("kill -STOP {pid}"))?;
        Ok(pid)
    }

    /// Waits until the API does not know the pod any more and nothing of its sandbox is left on the node.
    pub(crate) fn gone(&self, pod: &str, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        eventually(limit, &format!("{pod} is gone"), || {
            let told = self.get(&format!("pod {pod}")).ok()?;
            (told.is_none() && self.sandbox(pod).ok()?.is_none()).then_some(())
        })
        .with_context(|| {
            self.types("kubectl get pods,events").map_or_else(|error| error.to_string(), |told| told.stdout)
        })?;
        Ok(began.elapsed())
    }

    /// Brings the chart's image to the registry, and the chart onto the node, by the shortest way.
    pub(crate) fn install_chart(&self) -> Result<()> {
        self.does("hack/kubernetes/image --name 127.0.0.1:5000/runsc-guard:0.1.0")?;
        self.does("crane push target/kubernetes/image 127.0.0.1:5000/runsc-guard:0.1.0")?;
        self.does(
            "kubectl apply -f hack/kubernetes/namespace.yaml && helm install runsc-guard hack/kubernetes/chart --namespace runsc-guard \
               --set image.repository=127.0.0.1:5000/runsc-guard",
        )?;
        self.rolled_out()
    }

    /// Waits until the DaemonSet is as it should be, and says why it is not.
    pub(crate) fn rolled_out(&self) -> Result<()> {
        eventually(ROLLED_OUT, "the DaemonSet is ready", || {
            let set = self.get("-n runsc-guard daemonset runsc-guard").ok()??;
            let status = &set["status"];
            let is_new = status["observedGeneration"] == set["metadata"]["generation"];
            (is_new && status["updatedNumberScheduled"] == 1 && status["numberReady"] == 1).then_some(())
        })
        .with_context(|| self.installers_words())
    }

    /// What kubectl says of the DaemonSet's pods.
    pub(crate) fn installers_words(&self) -> String {
        self.types("kubectl -n runsc-guard describe pods")
            .map_or_else(|error| error.to_string(), |told| told.stdout)
    }
}

/// A pod of that class.
pub(crate) fn pod(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": "subject" } },
        "spec": {
            "runtimeClassName": class,
            "terminationGracePeriodSeconds": GRACE,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sleep", "1000000"],
            }],
        },
    })
}
