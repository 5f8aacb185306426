//! A real kubelet with static pods. Unguarded, a pod whose sentry has stopped stays forever: "Failed to stop
//! sandbox", KillPodSandboxError, again and again. Guarded, it is gone by its deadline, whatever the kubelet does
//! meanwhile, and one that is still wanted comes back by itself.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Handler, Host, IMAGE, Kubelet, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    promise::{DEADLINE, ESCALATION},
    runtime_v1::RemovePodSandboxRequest,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// terminationGracePeriodSeconds; a kubelet gives no less.
const GRACE: Duration = Duration::from_secs(2);
/// How long an unguarded pod is watched.
const LONG: Duration = GRACE.saturating_add(DEADLINE).saturating_mul(5);
/// `query_deadline` and `signal_deadline`: State and the stop signal may take as long before the grace period begins.
const ASKED: Duration = Duration::from_secs(1 + 2);
/// How often the kubelet looks at its pods by itself; it finds a change of the manifests at once.
const SYNC: Duration = Duration::from_secs(2);
/// By when a wedged pod is gone that is not wanted any more.
const GONE: Duration =
    ASKED.saturating_add(GRACE).saturating_add(DEADLINE).saturating_add(ESCALATION).saturating_add(SYNC);
/// What a kubelet may take to start a pod, or itself, on a busy machine.
const START: Duration = Duration::from_secs(60);

const NAME: &str = "subject";

/// A pod of three, one with a probe that needs a living sandbox.
fn manifest() -> Value {
    let container = |name: &str| {
        json!({
            "name": name,
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "command": ["sleep", "100000"],
        })
    };
    let mut probed = container("probed");
    probed["livenessProbe"] = json!({
        "exec": { "command": ["true"] },
        "periodSeconds": 1,
        "timeoutSeconds": 1,
        "failureThreshold": 1,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": NAME, "namespace": "tests" },
        "spec": {
            "terminationGracePeriodSeconds": GRACE.as_secs(),
            "containers": [probed, container("second"), container("third")],
        },
    })
}

/// Fields drop in this order: the kubelet must not see its containerd go.
struct Node {
    kubelet: Kubelet,
    cri: Cri,
    host: Host,
}

impl Node {
    fn start(handler: Handler) -> Result<Self> {
        let default =
            "[plugins.\"io.containerd.cri.v1.runtime\".containerd]\n  default_runtime_name = \"subject\"\n";
        let host = Host::builder().handler(handler).config(default).start()?;
        Ok(Self { kubelet: Kubelet::start(&host)?, cri: host.cri()?, host })
    }

    /// Waits until the pod runs in another sandbox than `before`, and gives that one.
    fn up(&self, before: Option<&str>) -> Result<String> {
        eventually(START, "the pod runs", || {
            let pods = self.kubelet.pods().ok()?;
            let status = &pods.first()?["status"];
            let ready =
                status["containerStatuses"].as_array()?.iter().filter(|one| one["ready"] == true).count();
            (status["phase"] == "Running" && ready == 3).then_some(())?;
            self.ready_sandbox().filter(|id| Some(id.as_str()) != before)
        })
        .with_context(|| self.kubelet.last_words())
    }

    /// What the kubelet says of why each container ended last time.
    fn messages(&self) -> Result<Vec<String>> {
        let pods = self.kubelet.pods()?;
        let status = pods.first().context("no pod")?["status"].clone();
        let all = status["containerStatuses"].as_array().context("no containers")?;
        let message =
            |one: &Value| one["lastState"]["terminated"]["message"].as_str().unwrap_or("").to_owned();
        Ok(all.iter().map(message).collect())
    }

    /// The pod's sandbox that containerd calls ready.
    fn ready_sandbox(&self) -> Option<String> {
        let limit = Duration::from_secs(5);
        let states = self.cri.pods(limit).ok()?;
        let name = self.kubelet.pod_name(NAME);
        let ours = self.cri.named_pods(limit).ok()?.into_iter().filter(|(_, one)| *one == name);
        ours.map(|(id, _)| id).find(|id| states.contains(&(id.clone(), 0)))
    }

    /// Waits until containerd calls no sandbox of the pod ready, and nothing is left but a mount of containerd's own:
    /// of a sandbox that has ended before StopPodSandbox it keeps /dev/shm until RemovePodSandbox.
    fn gone(&self, before: &Resources, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        eventually(limit, "the pod is gone", || {
            let pods = self.cri.pods(Duration::from_secs(5)).ok()?;
            pods.iter().all(|(_, state)| *state == 1).then_some(())
        })
        .with_context(|| self.kubelet.last_words())?;
        let took = began.elapsed();
        let mut last = Resources::default();
        eventually(Duration::from_secs(5), "nothing is left", || {
            last = Resources::of(&self.host).since(before);
            last.mounts.retain(|path| !path.ends_with("shm"));
            last.is_empty().then_some(())
        })
        .with_context(|| format!("left:\n{last}"))?;
        Ok(took)
    }

    /// Does what the kubelet does once a minute, and proves that nothing at all is left.
    fn clean(self, before: &Resources) -> Result<()> {
        self.kubelet.kill();
        let limit = Duration::from_secs(20);
        for (id, _) in self.cri.pods(limit)? {
            let remove = RemovePodSandboxRequest { pod_sandbox_id: id };
            self.cri.call(remove, limit, |mut client, request| async move {
                client.remove_pod_sandbox(request).await
            })?;
        }
        assert_nothing_left(&self.host, before, Duration::from_secs(5))
    }
}

/// How many lines of errors there are that say `what`.
fn errors(log: &str, what: &str) -> usize {
    log.lines().filter(|line| line.starts_with('E') && line.contains(what)).count()
}

#[test]
fn unguarded_the_pod_stays_and_the_kubelet_tries_for_ever() -> Result<()> {
    let node = Node::start(Handler::unguarded("subject"))?;
    node.kubelet.put(NAME, &manifest())?;
    let id = node.up(None)?;
    let sandbox = Sandbox::of(&node.host, &id)?;
    sandbox.stop_sentry()?;
    node.kubelet.remove(NAME)?;
    let removed = Instant::now();
    eventually(Duration::from_secs(90), "a sync fails, the next one too, and time passes", || {
        let log = node.kubelet.log();
        let next = log.split_once("KillPodSandboxError")?.1;
        (errors(next, "KillContainerError") + errors(next, "Kill container failed") > 0).then_some(())?;
        (removed.elapsed() >= LONG).then_some(())
    })
    .with_context(|| node.kubelet.last_words())?;
    let (took, log) = (removed.elapsed(), node.kubelet.log());
    println!(
        "unguarded: still there after {took:?}: {} errors, {} times \"Failed to stop sandbox\"",
        errors(&log, ""),
        errors(&log, "Failed to stop sandbox"),
    );
    ensure!(sandbox.sentry.is_alive(), "the sentry is gone");
    ensure!(node.ready_sandbox() == Some(id), "containerd calls it stopped");
    Ok(())
}

#[test]
fn guarded_the_pod_comes_back_where_it_is_wanted_and_goes_where_it_is_not() -> Result<()> {
    let guarded = Handler::quick("subject", "2s").guard("exec_deadline", "\"2s\"");
    let node = Node::start(guarded)?;
    let before = Resources::of(&node.host);
    node.kubelet.put(NAME, &manifest())?;
    let first = node.up(None)?;

    // Still wanted: the probe fails, the kubelet ends a container of it, the guard ends the sandbox.
    Sandbox::of(&node.host, &first)?.stop_sentry()?;
    let began = Instant::now();
    let second = node.up(Some(&first))?;
    println!("guarded, manifest in place: another sandbox runs all three after {:?}", began.elapsed());

    // Whoever owns it can see why.
    let messages = node.messages()?;
    println!("{messages:#?}");
    let says_why = |one: &&String| one.starts_with("runsc-guard ended this pod's gVisor sandbox: ");
    // The container whose probe failed may have been started again in the sandbox that had just ended: the last that is
    // told of it is then containerd's word for that.
    let found_it_ended =
        |one: &&String| one.starts_with("sandbox container ") && one.ends_with(" is not running");
    let (told, again) =
        (messages.iter().filter(says_why).count(), messages.iter().filter(found_it_ended).count());
    ensure!(told + again == 3 && again <= 1 && messages.len() == 3, "{messages:?}");

    // Not wanted any more, while a probe is under way.
    Sandbox::of(&node.host, &second)?.stop_sentry()?;
    eventually(Duration::from_secs(10), "a probe is under way", || {
        node.host.processes().iter().any(|process| process.args.iter().any(|arg| arg == "exec")).then_some(())
    })?;
    node.kubelet.remove(NAME)?;
    let took = node.gone(&before, GONE)?;
    println!("guarded, manifest removed: gone after {took:?}");

    // The same once more, and the kubelet itself is killed when it has asked for the end.
    node.kubelet.put(NAME, &manifest())?;
    let third = node.up(Some(&second)).context("the name is not usable again")?;
    Sandbox::of(&node.host, &third)?.stop_sentry()?;
    let asked = || node.host.log().matches("StopContainer for ").count();
    let before_it = asked();
    node.kubelet.remove(NAME)?;
    eventually(Duration::from_secs(10), "the kubelet asks for it", || (asked() > before_it).then_some(()))?;
    node.kubelet.restart()?;
    let took = node.gone(&before, GONE)?;
    println!("guarded, kubelet killed meanwhile: gone {took:?} after it was back");

    // What it had to complain about is over.
    let end = node.kubelet.log().len();
    node.kubelet.put(NAME, &manifest())?;
    node.up(Some(&third))?;
    node.kubelet.remove(NAME)?;
    node.gone(&before, GONE)?;
    let after = node.kubelet.log().split_off(end);
    ensure!(errors(&after, NAME) == 0, "errors after the end:\n{after}");
    node.clean(&before)
}
