//! What containerd forgets. Killed half-way through a start: no guard stays that nobody ever joins, no half-made
//! container, and the rest of the pod lives. Started without the guard's program: what runs on is ended.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Event, EventLog, Handler, Host, Outcome, Parts, PodContainer, SOON, Versions, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_gone, assert_nothing_left},
    run,
};
use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A look after ten seconds, one a minute later; two more where containerd was not back at the first.
const FORGOTTEN: Duration = Duration::from_secs(150);
/// Two minutes without a container: where containerd does not ask what it has, an empty guard leaves by itself.
const VACANT: Duration = Duration::from_secs(150);
const HANDLER: &str = "guarded";

/// When containerd is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The guard is up and nobody has been told.
    Guarded,
    /// Create is at runsc.
    Creating,
    /// runsc has created, the real shim has not answered.
    Created,
    /// Start is at runsc.
    Starting,
}

const MOMENTS: [Moment; 4] = [Moment::Guarded, Moment::Creating, Moment::Created, Moment::Starting];

/// A host whose containerd is killed at the moment that comes next after `trigger` has been written.
struct Node {
    host: Host,
    trigger: PathBuf,
}

impl Node {
    fn new(parts: Parts) -> Result<Self> {
        let host = Host::builder().parts(parts).handler(Handler::guarded(HANDLER)).start()?;
        let trigger = host.path().join("trigger");
        Ok(Self { host, trigger })
    }

    /// Arms it.
    fn at(&self, moment: Moment) -> Result<()> {
        let host = &self.host;
        let pid = host.containerd()?.pid;
        let armed = format!("rm {} 2>/dev/null", self.trigger.display());
        let shim = host.path().join("bin/containerd-shim-runsc-guard-v2");
        let guard = host.parts().guard.display().to_string();
        let _ = std::fs::remove_file(&shim);
        let case = match moment {
            Moment::Guarded => format!(
                "*\" start\") if {armed}; then {guard} \"$@\" >/dev/null 2>&1; kill -KILL {pid}; exit 1; fi;;"
            ),
            _ => String::new(),
        };
        harness::write_script(&shim, &script(&case, &guard))?;
        let runsc = host.parts().runsc.display().to_string();
        let case = match moment {
            Moment::Guarded => String::new(),
            Moment::Creating => format!("*\" create \"*) if {armed}; then kill -KILL {pid}; fi;;"),
            Moment::Created => format!(
                "*\" create \"*) if {armed}; then {runsc} \"$@\"; code=$?; kill -KILL {pid}; exit $code; fi;;"
            ),
            Moment::Starting => format!("*\" start \"*) if {armed}; then kill -KILL {pid}; fi;;"),
        };
        let wrapper = host.path().join("runsc-kills");
        // Not written in place: a command may be running it.
        let fresh = host.path().join("runsc-kills.new");
        harness::write_script(&fresh, &script(&case, &runsc))?;
        std::fs::rename(&fresh, &wrapper)?;
        host.add_handler(&Handler::guarded(HANDLER).runsc(wrapper))?;
        Ok(std::fs::write(&self.trigger, "")?)
    }

    /// How long it may take until nothing is left. (containerd 1.6 reaps nothing that has no task.)
    fn limit(&self) -> Duration {
        if self.host.parts().versions.containerd.starts_with("1.6") { VACANT } else { SOON }
    }

    /// Starts something that does not come to its end, and brings containerd back.
    fn interrupted<T>(&self, start: impl FnOnce() -> Result<T> + Send) -> Result<()>
    where
        T: Send,
    {
        let containerd = self.host.containerd()?;
        let failed = thread::scope(|scope| {
            let started = scope.spawn(start);
            containerd.wait_gone(SOON)?;
            started.join().map_err(|_| anyhow::anyhow!("panicked"))
        })?;
        ensure!(failed.is_err(), "it came to its end");
        self.host.stop_containerd();
        self.host.start_containerd()
    }
}

fn script(case: &str, program: &str) -> String {
    format!("#!/bin/sh\ncase \"$*\" in\n{case}\nesac\nexec {program} \"$@\"\n")
}

/// A container by ctr: what containerd knows of it when it is back can be removed as ever.
fn alone(node: &Node, moment: Moment) -> Result<()> {
    let (host, ctr) = (&node.host, node.host.ctr());
    let before = Resources::of(host);
    node.at(moment)?;
    node.interrupted(|| ctr.start(&host.handler(HANDLER)?, "subject", &["sleep", "1000"]))?;
    println!("{moment:?}, alone: {:?}", ctr.tasks(SOON)?);
    let _ = ctr.force_delete_task("subject", SOON)?;
    eventually(SOON, "its container is forgotten", || ctr.delete_container("subject").ok())?;
    assert_nothing_left(host, &before, node.limit())
}

/// A pod of which nothing but its root was on the way: the kubelet ends it, and makes another.
fn root(node: &Node, moment: Moment) -> Result<()> {
    let host = &node.host;
    let before = Resources::of(host);
    node.at(moment)?;
    node.interrupted(|| host.cri()?.run_pod(HANDLER, "subject"))?;
    let cri = host.cri()?;
    let pods = eventually(SOON, "CRI serves", || cri.pods(SOON).ok())?;
    println!("{moment:?}, a pod's root: {pods:?}");
    for (id, _) in &pods {
        eventually(SOON, "StopPodSandbox works", || cri.stop_pod_by_id(id, SOON).ok())?;
        cri.remove_pod_by_id(id, SOON)?;
    }
    Cri::remove_pod_cgroup(&format!("/{}/pod-subject", host.tag()))?;
    assert_nothing_left(host, &before, node.limit())
}

/// The second container of a living pod: what is left of it goes, and the first is none the wiser.
fn member(node: &Node, moment: Moment) -> Result<()> {
    let host = &node.host;
    let before = Resources::of(host);
    let cri = host.cri()?;
    let pod = cri.run_pod(HANDLER, "subject")?;
    let first = cri.run_container(&pod, "first", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(host, &pod.id)?;
    node.at(moment)?;
    node.interrupted(|| host.cri()?.run_container(&pod, "second", &["sleep", "1000"]))?;
    let cri = host.cri()?;
    let known = eventually(SOON, "CRI serves", || cri.containers(SOON).ok())?;
    println!("{moment:?}, a member: {known:?}");
    for (id, _) in known.into_iter().filter(|(id, _)| *id != first.id) {
        let second = PodContainer { id };
        // Before 1.7 nobody deletes it, and gVisor's shim waits 30 s for the reader of its output.
        eventually(node.limit(), "StopContainer works", || cri.stop_container(&second, 0, SOON).ok())?;
        cri.remove_container(&second, SOON)?;
        if node.limit() == SOON {
            assert_gone(host, &second.id, SOON)?;
        }
    }
    sandbox.sentry.assert_spared().context("the pod was ended")?;
    ensure!(cri.exec(&first, &["echo", "well"], SOON)?.stdout == b"well\n", "exec in the first");
    cri.end_pod(&pod)?;
    assert_nothing_left(host, &before, node.limit())
}

/// `RUNSC_GUARD_CONTAINERD=1.7.35` is another of the pinned ones.
fn parts() -> Result<Parts> {
    let mut versions = Versions::newest()?;
    if let Ok(containerd) = std::env::var("RUNSC_GUARD_CONTAINERD") {
        versions.containerd = containerd;
    }
    Parts::of(versions)
}

/// Whether containerd runs `start` for a pod's members, too.
fn starts_members(parts: &Parts) -> bool {
    parts.versions.containerd.starts_with("1.")
}

#[test]
fn a_lone_container_half_way() -> Result<()> {
    let node = Node::new(parts()?)?;
    MOMENTS.into_iter().try_for_each(|moment| alone(&node, moment).with_context(|| format!("{moment:?}")))
}

#[test]
fn a_pods_root_half_way() -> Result<()> {
    let node = Node::new(parts()?)?;
    MOMENTS.into_iter().try_for_each(|moment| root(&node, moment).with_context(|| format!("{moment:?}")))
}

/// containerd 2.4 runs no `start` for a member.
#[test]
fn a_member_half_way() -> Result<()> {
    let node = Node::new(parts()?)?;
    let starts = starts_members(node.host.parts());
    let moments = MOMENTS.into_iter().filter(|moment| starts || *moment != Moment::Guarded);
    moments.into_iter().try_for_each(|moment| member(&node, moment).with_context(|| format!("{moment:?}")))
}

/// `runsc-guard`, for one namespace of containerd.
fn operator(host: &Host, namespace: &str, args: &[&str]) -> Result<Outcome> {
    let mut operator = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    operator.args(["--namespace", namespace]).args(args);
    match args[0] {
        "reap" => operator.arg("--report-dir").arg(host.path().join("reports")),
        "doctor" => operator.arg("--address").arg(host.socket()),
        _ => &mut operator,
    };
    let outcome = run(&mut operator, b"", 3 * SOON)?;
    ensure!(!outcome.timed_out(), "{outcome:?}");
    Ok(outcome)
}

/// What `ls` says of a sandbox.
fn listed(host: &Host, namespace: &str, id: &str) -> Result<String> {
    let text = operator(host, namespace, &["ls", "--output", "json"])?.ok()?;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let state = all.iter().find(|one| one["id"] == id).map(|one| one["state"].clone());
    Ok(state.context("it is not listed")?.as_str().unwrap_or_default().to_owned())
}

/// Moves the guard's program away while containerd restarts, which then forgets what it cannot ask for.
fn make_forgotten(host: &Host, namespace: &str, id: &str) -> Result<()> {
    let (bundle, shim) = (host.bundle(namespace, id), host.path().join("bin/containerd-shim-runsc-guard-v2"));
    let program = std::fs::read_link(&shim)?;
    std::fs::remove_file(&shim)?;
    host.restart_containerd()?;
    eventually(SOON, "it is forgotten", || (!bundle.exists()).then_some(()))?;
    Ok(std::os::unix::fs::symlink(program, &shim)?)
}

/// An upgrade has moved the guard's program, and containerd is started: it removes the bundles and forgets the pod. The
/// guard lives, and ends what nobody will ever ask for.
#[test]
fn a_forgotten_sandbox_ends() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    let before = Resources::of(&host);
    let cri = host.cri()?;
    let pod = cri.run_pod(HANDLER, "subject")?;
    cri.run_container(&pod, "c", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    let guard = sandbox.guard.clone().context("no guard")?;
    make_forgotten(&host, "k8s.io", &pod.id)?;
    ensure!(sandbox.sentry.is_alive() && guard.is_alive(), "it is gone already");
    let state = listed(&host, "k8s.io", &pod.id)?;
    ensure!(state == "orphaned", "ls says {state}");
    let began = Instant::now();
    let events = EventLog::start(&host.ctr())?;
    eventually(FORGOTTEN, "the sandbox ends", || (!sandbox.sentry.is_alive()).then_some(()))?;
    guard.wait_gone(SOON)?;
    println!("a forgotten sandbox ended after {:?}", began.elapsed());
    let told = |event: &Event| event.topic == "/runsc-guard/escalation" && event.text("sandbox_id") == pod.id;
    ensure!(events.all().iter().any(told), "nobody was told: {:?}", events.all());
    let cri = host.cri()?;
    eventually(SOON, "StopPodSandbox works", || cri.stop_pod(&pod, SOON).ok())?;
    cri.remove_pod(&pod, SOON)?;
    assert_nothing_left(&host, &before, SOON)
}

/// The operator need not wait for that: `ls` names it, `doctor` says what to do, and `reap --orphaned` does it, while a
/// container that containerd knows is let alone. (In a namespace of this host's own: a reap of all orphans is of all.)
#[test]
fn an_operator_ends_what_is_forgotten_and_nothing_else() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    let (ctr, handler, before) = (host.ctr(), host.handler(HANDLER)?, Resources::of(&host));
    let namespace = ctr.namespace();
    ctr.start(&handler, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    make_forgotten(&host, namespace, "subject")?;
    ctr.start(&handler, "neighbour", &["sleep", "1000"])?;
    let neighbour = Sandbox::of(&host, "neighbour")?;

    let state = listed(&host, namespace, "subject")?;
    ensure!(state == "orphaned", "ls says {state}");
    let doctor = operator(&host, namespace, &["doctor", "--output", "json"])?;
    let findings: Vec<serde_json::Value> = serde_json::from_str(&doctor.stdout)?;
    let about = |one: &&serde_json::Value| one["what"].as_str().is_some_and(|what| what.contains("subject"));
    let finding = findings.iter().find(about).context("doctor does not name it")?;
    let says = |key: &str, words: &str| finding[key].as_str().is_some_and(|text| text.contains(words));
    ensure!(finding["level"] == "fail" && says("what", "forgotten"), "{finding:#}");
    ensure!(says("remedy", "runsc-guard reap subject"), "{finding:#}");
    let dry = operator(&host, namespace, &["reap", "--orphaned", "--dry-run"])?;
    ensure!(dry.stdout.contains("subject") && sandbox.sentry.is_alive(), "{dry:?}");

    let reaped = operator(&host, namespace, &["reap", "--orphaned", "--yes"])?;
    println!("{}{}", reaped.stdout, reaped.stderr);
    ensure!(reaped.success() && !sandbox.sentry.is_alive(), "{reaped:?}");
    ensure!(!reaped.stdout.contains("collect"), "nobody collects it: {}", reaped.stdout);
    ensure!(!reaped.stdout.contains("neighbour"), "{}", reaped.stdout);
    // At once, and not when it finds out by itself.
    sandbox.guard.as_ref().context("no guard")?.wait_gone(SOON)?;
    let answer = ctr.exec("neighbour", "look", &["echo", "well"], b"", SOON)?.ok()?;
    neighbour.sentry.assert_spared()?;
    ensure!(answer == "well\n", "the neighbour answers {answer:?}");
    ctr.remove("neighbour")?;
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, SOON)
}
