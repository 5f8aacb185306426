//! One life, from start to end, and the death of its guard somewhere in it.

use super::script::{Kind, Moment, Stage};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Ctr, Host, Pod, Random, SOON, eventually, faults, faults::Sandbox, leaks::Resources,
    process::Process,
};
use rustix::process::Signal;
use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// containerd's namespace for what CRI makes.
const CRI: &str = "k8s.io";

/// What CRI writes into the config.json of a pod's first container.
const SANDBOX: &str = "\"io.kubernetes.cri.container-type\":\"sandbox\"";

/// What became of it.
pub(super) struct Lived {
    /// The ids of its containers.
    pub(super) ids: Vec<String>,
    /// The step under way when its guard was killed, and how long it took until nothing was left; none if the guard
    /// had left before.
    pub(super) killed: Option<(&'static str, Duration)>,
}

/// Lives one life. An error is something that should not be.
pub(super) fn live(host: &Host, kind: Kind, number: usize, random: &mut Random) -> Result<Lived> {
    let moment = Moment::any(kind, random);
    let stage = Stage::new("start");
    let name = format!("life{number:05}");
    let (lived, death) = thread::scope(|scope| {
        let killer = scope.spawn(|| kill(host, kind, &name, &stage, &moment));
        let lived = if kind.pod {
            live_as_pod(host, kind, &name, &stage)
        } else {
            live_as_container(host, kind, &name, &stage)
        };
        stage.over.store(true, Ordering::Relaxed);
        (lived, killer.join())
    });
    let death = death.map_err(|_| anyhow::anyhow!("the killer panicked"))?;
    let what = || format!("{}, guard killed: {death:?}", kind.name());
    let ids = lived.with_context(what)?;
    let sandbox = ids.first().context("no id")?;
    let namespace = if kind.pod { CRI } else { host.tag() };
    nothing_left(host, namespace, sandbox, &ids).with_context(what)?;
    Ok(Lived { killed: death.as_ref().map(|(step, at)| (*step, at.elapsed())), ids })
}

/// Kills the guard of this life at its moment, and not before it has appeared. Gives the step that was under way by
/// then, and when.
fn kill(
    host: &Host,
    kind: Kind,
    name: &str,
    stage: &Stage,
    moment: &Moment,
) -> Option<(&'static str, Instant)> {
    let guard = loop {
        if stage.over.load(Ordering::Relaxed) {
            return None;
        }
        let id = if kind.pod { pod_id(host, name) } else { Some(name.to_owned()) };
        match id.and_then(|id| guard_of(&id)) {
            Some(guard) => break guard,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    while stage.step() != moment.step && !stage.over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
    // The moment itself, not a wait for a fact.
    thread::sleep(moment.after);
    // Told first: from now on the script may fail.
    stage.killed.store(true, Ordering::SeqCst);
    let step = stage.step();
    guard.signal(Signal::KILL).ok()?;
    Some((step, Instant::now()))
}

/// By its flags; a look that costs less than one at everything of the host.
fn guard_of(id: &str) -> Option<Process> {
    let all = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut guards = pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_guard = words.first().is_some_and(|name| name.ends_with(b"containerd-shim-runsc-guard-v2"));
        let serves = !words.contains(&&b"-publish-binary"[..]) && !words.contains(&&b"-bundle"[..]);
        is_guard && serves && words.contains(&id.as_bytes())
    });
    guards.next().and_then(Process::read)
}

/// The id of the pod of that name, as soon as its bundle is there.
fn pod_id(host: &Host, name: &str) -> Option<String> {
    let bundles = host.bundle(CRI, "x").parent()?.to_owned();
    let wanted = format!("\"io.kubernetes.cri.sandbox-name\":\"{name}\"");
    std::fs::read_dir(bundles).ok()?.flatten().find_map(|entry| {
        let config = std::fs::read_to_string(entry.path().join("config.json")).ok()?;
        let is_it = config.contains(&wanted) && config.contains(SANDBOX);
        is_it.then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// A step that may fail only once the guard was to be killed. `false` if it has failed then.
fn step<T>(stage: &Stage, name: &'static str, done: Result<T>) -> Result<Option<T>> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(_) if stage.killed.load(Ordering::SeqCst) => Ok(None),
        Err(error) => Err(error.context(format!("{name} failed though the guard lived"))),
    }
}

fn live_as_container(host: &Host, kind: Kind, id: &str, stage: &Stage) -> Result<Vec<String>> {
    let ctr = host.ctr();
    let handler = host.handler("guarded")?;
    let started = step(stage, "start", ctr.start(&handler, id, &["sleep", "1000"]))?.is_some();
    if started {
        stage.enter("exec");
        let exec = ctr.exec(id, "e", &["true"], b"", SOON).and_then(|outcome| outcome.ok());
        if step(stage, "exec", exec)?.is_some() {
            end_container(host, &ctr, kind, id, stage)?;
        }
    }
    stage.enter("clean up");
    eventually(SOON, "ctr has deleted the container", || {
        // The task goes first, by whoever is quicker.
        let _ = ctr.force_delete_task(id, SOON);
        match ctr.delete_container(id) {
            Ok(()) => Some(()),
            Err(error) => error.to_string().contains("not found").then_some(()),
        }
    })?;
    Ok(vec![id.to_owned()])
}

fn end_container(host: &Host, ctr: &Ctr, kind: Kind, id: &str, stage: &Stage) -> Result<()> {
    if kind.wedged
        && let Ok(sandbox) = Sandbox::of(host, id)
    {
        // It may end this very moment, with its guard.
        let _ = sandbox.sentry.signal(Signal::STOP);
    }
    stage.enter("kill");
    let killed = ctr.kill(id, "KILL", SOON).and_then(|outcome| outcome.ok());
    if step(stage, "kill", killed)?.is_none() {
        return Ok(());
    }
    stage.enter("delete");
    let deleted = ctr.force_delete_task(id, SOON).and_then(|outcome| outcome.ok());
    step(stage, "delete", deleted).map(drop)
}

fn live_as_pod(host: &Host, kind: Kind, name: &str, stage: &Stage) -> Result<Vec<String>> {
    let cri = host.cri()?;
    let Some(pod) = step(stage, "start", cri.run_pod("guarded", name))? else {
        // containerd cleans up what it could not start; its id is in no answer.
        return end_unknown_pod(host, &cri, name);
    };
    let mut ids = vec![pod.id.clone()];
    let lived = live_in_pod(host, &cri, kind, &pod, &mut ids, stage);
    stage.enter("clean up");
    // As a kubelet: again and again, until it works.
    let end = || cri.stop_pod(&pod, SOON).ok().and_then(|()| cri.remove_pod(&pod, SOON).ok());
    eventually(2 * SOON, "the pod is removed", end)?;
    lived?;
    Ok(ids)
}

fn live_in_pod(
    host: &Host,
    cri: &Cri,
    kind: Kind,
    pod: &Pod,
    ids: &mut Vec<String>,
    stage: &Stage,
) -> Result<()> {
    for name in ["one", "two"] {
        stage.enter("create");
        let created = cri.create_container(pod, name, 0, &["sleep", "1000"]);
        let Some(container) = step(stage, "create", created)? else { return Ok(()) };
        ids.push(container.id.clone());
        stage.enter("start");
        if step(stage, "start", cri.start_container(&container))?.is_none() {
            return Ok(());
        }
        stage.enter("exec");
        let exec = cri.exec(&container, &["true"], SOON).map_err(anyhow::Error::from);
        if step(stage, "exec", exec)?.is_none() {
            return Ok(());
        }
    }
    if kind.wedged
        && let Ok(sandbox) = Sandbox::of(host, &pod.id)
    {
        // It may end this very moment, with its guard.
        let _ = sandbox.sentry.signal(Signal::STOP);
    }
    stage.enter("stop");
    // A wedged pod takes a kubelet more than one attempt, guard or not.
    let stopped = eventually(SOON, "StopPodSandbox works", || cri.stop_pod(pod, SOON).ok());
    if step(stage, "stop", stopped)?.is_some() {
        stage.enter("remove");
        step(stage, "remove", cri.remove_pod(pod, SOON))?;
    }
    Ok(())
}

/// A pod whose RunPodSandbox failed is known to containerd or not; if it is, it is ended.
fn end_unknown_pod(host: &Host, cri: &Cri, name: &str) -> Result<Vec<String>> {
    let folder = PathBuf::from(format!("/{}/pod-{name}", host.tag()));
    eventually(2 * SOON, "the pod is gone", || {
        for (id, known) in cri.named_pods(SOON).ok()? {
            if known == name {
                let _ = cri.stop_pod_by_id(&id, SOON).and_then(|()| cri.remove_pod_by_id(&id, SOON));
            }
        }
        let left = cri.named_pods(SOON).ok()?.iter().any(|(_, known)| known == name);
        (!left && pod_id(host, name).is_none()).then_some(())
    })?;
    // As a kubelet: what still runs in there is on its way out.
    eventually(SOON, "the pod's cgroup is empty", || Cri::remove_pod_cgroup(&folder.to_string_lossy()).ok())?;
    // Nobody was told its id; the look at the whole host in the end covers it.
    Ok(vec![name.to_owned()])
}

/// Fails unless, soon, nothing of these ids is left, their guard's socket, folder and lock included.
fn nothing_left(host: &Host, namespace: &str, sandbox: &str, ids: &[String]) -> Result<()> {
    let hash = faults::guards_name(host, namespace, sandbox);
    let files = [
        PathBuf::from("/run/containerd/s").join(&hash),
        PathBuf::from("/run/runsc-guard").join(&hash),
        PathBuf::from("/run/runsc-guard").join(format!("{hash}.lock")),
    ];
    let mut left = String::new();
    let limit = harness::patience(SOON);
    let began = Instant::now();
    loop {
        let there: Vec<_> = files.iter().filter(|file| file.symlink_metadata().is_ok()).collect();
        left.clear();
        if there.is_empty() {
            for id in ids {
                left += &Resources::of_id(host, id).to_string();
            }
            if left.is_empty() {
                return Ok(());
            }
        } else {
            left = format!("{there:?}");
        }
        ensure!(began.elapsed() < limit, "left behind: {left}");
        // Each look reads all of /proc, and others live meanwhile.
        thread::sleep(Duration::from_millis(50));
    }
}
