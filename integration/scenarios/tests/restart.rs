//! containerd goes away and comes back, by SIGTERM and by SIGKILL, while all is well, during a wedge and during an
//! escalation: the answers stay the same, events come in order and once, and what was asked for comes true.

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api;
use harness::{
    EventLog, Handler, Host, Pod, PodContainer, SOON, TaskClient, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
};
use rustix::process::Signal;
use std::{
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(2);
/// What Connect and Pids may take at most, whatever the sandbox does.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Events that containerd takes from shims are in its log at this level.
fn traced_host() -> Result<Host> {
    Host::builder().handler(Handler::quick("guarded", "2s")).config("[debug]\n  level = \"trace\"\n").start()
}

/// The topics of all events that containerd, this one and those before it, took from shims in `namespace`, in their
/// order. A subscriber would miss what comes before it has subscribed anew.
fn taken(host: &Host, namespace: &str) -> Vec<String> {
    let ours = format!("ns={namespace} ");
    let log = host.log();
    let lines = log.lines().filter(|line| line.contains("\"event forwarded\"") && line.contains(&ours));
    lines.filter_map(|line| Some(line.split_once("topic=")?.1.split(' ').next()?.to_owned())).collect()
}

/// The start of a short exec comes after its exit where the real shim tells it so, which is its own affair.
fn usual(mut topics: Vec<String>) -> Vec<String> {
    for at in 1..topics.len() {
        if topics[at - 1] == "/tasks/exit" && topics[at] == "/tasks/exec-started" {
            topics.swap(at - 1, at);
        }
    }
    topics
}

fn count(topics: &[String], topic: &str) -> usize {
    topics.iter().filter(|one| *one == topic).count()
}

/// How many exits containerd has taken in each of these namespaces.
fn assert_exits(host: &Host, expected: [(&str, usize); 2]) -> Result<()> {
    for (namespace, exits) in expected {
        let topics = taken(host, namespace);
        ensure!(count(&topics, "/tasks/exit") == exits, "{namespace}: {topics:?}");
    }
    Ok(())
}

fn ask<A: protobuf::Message>(
    host: &Host,
    ns: &str,
    id: &str,
    method: &str,
    ask: &impl protobuf::Message,
) -> Result<A> {
    let client = TaskClient::connect(host, ns, id)?;
    client.call(method, ask, SOON).with_context(|| format!("{method} of {id}"))
}

fn wait(host: &Host, ns: &str, id: &str, exec: &str) -> Result<api::WaitResponse> {
    let wait = api::WaitRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
    ask(host, ns, id, "Wait", &wait)
}

fn kill(host: &Host, ns: &str, id: &str) -> Result<api::Empty> {
    let kill = api::KillRequest { id: id.to_owned(), signal: 9, ..Default::default() };
    ask(host, ns, id, "Kill", &kill)
}

/// Runs `true` in the container, past containerd.
fn exec(host: &Host, ns: &str, id: &str, exec: &str) -> Result<()> {
    let status = TaskClient::connect(host, ns, id)?.exec(id, exec, &["/bin/true"], SOON)?;
    ensure!(status == 0, "exec {exec}: status {status}");
    Ok(())
}

/// What leads to the shim of `id` leads to the guard.
fn leads_to_the_guard(host: &Host, ns: &str, id: &str, guard: i32) -> Result<()> {
    let bundle = host.bundle(ns, id);
    let bootstrap: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bundle.join("bootstrap.json"))?)?;
    let began = Instant::now();
    let connect = api::ConnectRequest { id: id.to_owned(), ..Default::default() };
    let answer: api::ConnectResponse = ask(host, ns, id, "Connect", &connect)?;
    ensure!(
        answer.shim_pid == guard.unsigned_abs(),
        "{id} leads to pid {}, not to the guard {guard}",
        answer.shim_pid
    );
    let pids: api::PidsResponse =
        ask(host, ns, id, "Pids", &api::PidsRequest { id: id.to_owned(), ..Default::default() })?;
    ensure!(!pids.processes.is_empty(), "{id}: no pids");
    let took = began.elapsed();
    // Members of a version 3 shim have no `address`.
    if let Ok(address) = std::fs::read_to_string(bundle.join("address")) {
        ensure!(bootstrap["address"].as_str() == Some(address.as_str()), "{bootstrap} and {address}");
    }
    println!("{id}: Connect and Pids took {took:?}");
    ensure!(took < 2 * AT_ONCE, "Connect and Pids took {took:?}");
    Ok(())
}

/// A container by ctr, and a pod with one by CRI.
struct Both {
    pod: Pod,
    container: PodContainer,
    guards: [i32; 2],
    sandboxes: [Sandbox; 2],
}

impl Both {
    fn start(host: &Host) -> Result<Self> {
        let ctr = host.ctr();
        ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
        let cri = host.cri()?;
        let pod = cri.run_pod("guarded", "subject")?;
        let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
        let sandboxes = [Sandbox::of(host, "subject")?, Sandbox::of(host, &pod.id)?];
        let guard = |one: &Sandbox| one.guard.as_ref().map(|guard| guard.pid).context("no guard");
        let guards = [guard(&sandboxes[0])?, guard(&sandboxes[1])?];
        Ok(Self { pod, container, guards, sandboxes })
    }

    fn all_lead_to_the_guard(&self, host: &Host) -> Result<()> {
        leads_to_the_guard(host, host.ctr().namespace(), "subject", self.guards[0])?;
        leads_to_the_guard(host, "k8s.io", &self.pod.id, self.guards[1])?;
        leads_to_the_guard(host, "k8s.io", &self.container.id, self.guards[1])
    }

    /// Ends both as their clients do, until it works, each by its deadline.
    fn end(&self, host: &Host) -> Result<()> {
        let cri = host.cri()?;
        let began = Instant::now();
        host.ctr().force_delete_task("subject", SOON)?.ok()?;
        println!("container ended after {:?}", began.elapsed());
        host.ctr().delete_container("subject")?;
        let began = Instant::now();
        eventually(SOON, "StopPodSandbox works", || cri.stop_pod(&self.pod, SOON).ok())?;
        println!("pod ended after {:?}", began.elapsed());
        cri.remove_pod(&self.pod, SOON)
    }
}

fn state(host: &Host, both: &Both) -> Result<String> {
    let mut tasks = host.ctr().tasks(SOON)?;
    tasks.extend(host.ctr().in_namespace("k8s.io").tasks(SOON)?);
    tasks.sort_by(|one, other| one.id.cmp(&other.id));
    let cri = host.cri()?;
    let here = |(id, _): &(String, i32)| *id == both.pod.id || *id == both.container.id;
    let pods: Vec<_> = cri.pods(SOON)?.into_iter().filter(here).collect();
    let containers: Vec<_> = cri.containers(SOON)?.into_iter().filter(here).collect();
    Ok(format!("{tasks:?} {pods:?} {containers:?}"))
}

fn healthy(signal: Signal) -> Result<()> {
    let host = traced_host()?;
    let before = Resources::of(&host);
    let both = Both::start(&host)?;
    let seen = state(&host, &both)?;
    host.end_containerd(signal)?;
    both.all_lead_to_the_guard(&host)?;
    host.start_containerd()?;
    both.all_lead_to_the_guard(&host)?;
    let again = state(&host, &both)?;
    ensure!(seen == again, "before: {seen}\nafter: {again}");
    for process in both.sandboxes.iter().flat_map(|one| [&one.sentry, &one.real_shim]) {
        process.assert_spared()?;
    }
    let answer = host.cri()?.exec(&both.container, &["echo", "well"], SOON)?;
    ensure!(answer.stdout == b"well\n", "{answer:?}");
    ensure!(host.ctr().exec("subject", "e", &["echo", "well"], b"", SOON)?.ok()? == "well\n", "exec by ctr");
    both.end(&host)?;
    assert_nothing_left(&host, &before, SOON)?;
    assert_exits(&host, [(host.tag(), 2), ("k8s.io", 3)])
}

#[test]
fn a_restart_by_sigterm_changes_nothing() -> Result<()> {
    healthy(Signal::TERM)
}

#[test]
fn a_restart_by_sigkill_changes_nothing() -> Result<()> {
    healthy(Signal::KILL)
}

/// What happens meanwhile is told afterwards: all of it, in order, once.
fn events_wait(signal: Signal) -> Result<()> {
    const EXECS: usize = 3;
    let host = traced_host()?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    let (ns, id) = (ctr.namespace(), "subject");
    ctr.start(&host.handler("guarded")?, id, &["sleep", "1000"])?;
    eventually(SOON, "the start is published", || (taken(&host, ns) == ["/tasks/start"]).then_some(()))?;
    host.end_containerd(signal)?;
    for number in 0..EXECS {
        exec(&host, ns, id, &format!("e{number}"))?;
    }
    kill(&host, ns, id)?;
    let exit = wait(&host, ns, id, "")?;
    ensure!(exit.exit_status == 137, "{exit:?}");
    host.start_containerd()?;
    let mut expected = vec!["/tasks/start"];
    expected.extend(["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"].repeat(EXECS));
    expected.push("/tasks/exit");
    eventually(SOON, "all events are delivered", || {
        (taken(&host, ns).len() >= expected.len()).then_some(())
    })?;
    // containerd may have reaped the stopped task by itself when it came back.
    let _ = ctr.force_delete_task(id, SOON)?;
    ctr.delete_container(id)?;
    assert_nothing_left(&host, &before, SOON)?;
    let topics = usual(taken(&host, ns));
    ensure!(topics == expected, "{topics:?}");
    Ok(())
}

#[test]
fn events_wait_for_a_containerd_ended_by_sigterm() -> Result<()> {
    events_wait(Signal::TERM)
}

#[test]
fn events_wait_for_a_containerd_ended_by_sigkill() -> Result<()> {
    events_wait(Signal::KILL)
}

/// A containerd that is stopped for longer than any publisher waits has taken each event once when it goes on.
#[test]
fn a_stopped_containerd_gets_each_event_once() -> Result<()> {
    let host = traced_host()?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    let (ns, id) = (ctr.namespace(), "subject");
    let events = EventLog::start(&ctr)?;
    ctr.start(&host.handler("guarded")?, id, &["sleep", "1000"])?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    exec(&host, ns, id, "e")?;
    kill(&host, ns, id)?;
    wait(&host, ns, id, "")?;
    // The scenario itself, not a wait for a fact: containerd's own publisher gives an event 5 s, and tries again.
    thread::sleep(Duration::from_secs(12));
    containerd.signal(Signal::CONT)?;
    eventually(SOON, "the exit is published", || (events.exits(id, id) > 0).then_some(()))?;
    ctr.delete_task(id, SOON)?.ok()?;
    ctr.delete_container(id)?;
    assert_nothing_left(&host, &before, SOON)?;
    let topics = usual(taken(&host, ns));
    let expected = ["/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit", "/tasks/exit"];
    ensure!(topics == expected, "{topics:?}");
    ensure!(events.exits(id, id) == 1, "{:?}", events.of_task(id));
    Ok(())
}

/// The sandboxes do not answer while containerd comes back, and end by their deadline afterwards.
fn wedged(signal: Signal) -> Result<()> {
    let host = traced_host()?;
    let before = Resources::of(&host);
    let both = Both::start(&host)?;
    for sandbox in &both.sandboxes {
        sandbox.stop_sentry()?;
    }
    host.end_containerd(signal)?;
    both.all_lead_to_the_guard(&host)?;
    host.start_containerd()?;
    both.all_lead_to_the_guard(&host)?;
    let tasks = host.ctr().tasks(SOON)?;
    ensure!(tasks.iter().any(|task| task.id == "subject" && task.status == "RUNNING"), "{tasks:?}");
    both.end(&host)?;
    assert_nothing_left(&host, &before, SOON)?;
    assert_exits(&host, [(host.tag(), 1), ("k8s.io", 2)])
}

#[test]
fn a_restart_by_sigterm_during_a_wedge() -> Result<()> {
    wedged(Signal::TERM)
}

#[test]
fn a_restart_by_sigkill_during_a_wedge() -> Result<()> {
    wedged(Signal::KILL)
}

/// The end is asked for, containerd goes, the deadline passes without it: the guard keeps its word alone, and what
/// containerd finds when it comes back is an end like any other.
fn escalating(signal: Signal) -> Result<()> {
    let host = traced_host()?;
    let before = Resources::of(&host);
    let both = Both::start(&host)?;
    for sandbox in &both.sandboxes {
        sandbox.stop_sentry()?;
    }
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| host.ctr().kill("subject", "KILL", SOON));
        scope.spawn(|| host.cri()?.stop_pod(&both.pod, SOON).map_err(anyhow::Error::from));
        eventually(SOON, "the first escalation has begun", || {
            std::fs::read_dir(host.path().join("reports")).ok()?.next().map(drop)
        })?;
        host.end_containerd(signal)
    })?;
    for sandbox in &both.sandboxes {
        sandbox.sentry.gone_within(2 * DEADLINE)?;
    }
    println!("both sandboxes ended after {:?}, without containerd", began.elapsed());
    host.start_containerd()?;
    let cri = host.cri()?;
    eventually(SOON, "StopPodSandbox works", || cri.stop_pod(&both.pod, SOON).ok())?;
    cri.remove_pod(&both.pod, SOON)?;
    // containerd may have reaped the stopped task by itself when it came back.
    let _ = host.ctr().force_delete_task("subject", SOON)?;
    host.ctr().delete_container("subject")?;
    assert_nothing_left(&host, &before, SOON)?;
    assert_exits(&host, [(host.tag(), 1), ("k8s.io", 2)])
}

#[test]
fn a_restart_by_sigterm_during_an_escalation() -> Result<()> {
    escalating(Signal::TERM)
}

#[test]
fn a_restart_by_sigkill_during_an_escalation() -> Result<()> {
    escalating(Signal::KILL)
}

/// A kubelet that asks while nobody listens asks again, and the pod's end is not late for it.
#[test]
fn a_pods_end_asked_for_while_containerd_is_away() -> Result<()> {
    let host = traced_host()?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = cri.run_pod("guarded", "subject")?;
    cri.run_container(&pod, "c", &["sleep", "1000"])?;
    Sandbox::of(&host, &pod.id)?.stop_sentry()?;
    host.end_containerd(Signal::KILL)?;
    ensure!(cri.stop_pod(&pod, AT_ONCE).is_err(), "who answered?");
    // Also past containerd, as an operator could: the deadline runs from here.
    let asked = Instant::now();
    let client = TaskClient::connect(&host, "k8s.io", &pod.id)?;
    let kill = api::KillRequest { id: pod.id.clone(), signal: 9, ..Default::default() };
    let _ = client.call::<_, api::Empty>("Kill", &kill, AT_ONCE);
    host.start_containerd()?;
    let cri = host.cri()?;
    eventually(SOON, "StopPodSandbox works", || cri.stop_pod(&pod, SOON).ok())?;
    println!("the pod ended {:?} after it was asked for", asked.elapsed());
    cri.remove_pod(&pod, SOON)?;
    assert_nothing_left(&host, &before, SOON)
}
