//! The guard itself is killed, at every kind of moment: containerd runs `delete`, which finds and ends the rest
//! within its time (rule 4), and what containerd then publishes agrees with the durable record (rule 3).

use anyhow::{Context as _, Result, bail, ensure};
use harness::{
    Cri, Event, EventLog, Handler, Host, Pod, PodContainer, binary, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left, assert_nothing_left_within},
    patience,
    process::Process,
};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// From the guard's death until containerd has forgotten the task: `delete` has 4 s, containerd kills it at 5 s.
const DELETE: Duration = Duration::from_secs(5);
/// `delete` three times over.
const CLEANED: Duration = DELETE.saturating_mul(3);
/// How often a moment is tried that may be over before the signal comes.
const TRIES: usize = 20;

/// When the guard is killed, told by what can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing is asked for.
    Idle,
    /// An exec'd process runs.
    Exec,
    /// The sentry is stopped, and a SIGKILL hangs in `runsc kill` or in the `runsc state` before that.
    Kill,
    /// Step 1 is done: the report is written.
    Evidence,
    /// Step 2 is done: the sentry is dead.
    SentryDead,
    /// Step 3 is done: the real shim is dead.
    RealShimDead,
    /// In step 4: runsc's state file is gone.
    StateFileGone,
    /// A healthy sandbox is deleted: the guard has unlinked its socket.
    Leaving,
    /// A healthy sandbox is deleted: the real shim is gone, the release begins.
    Releasing,
}

impl Moment {
    const ALL: [Self; 9] = [
        Self::Idle,
        Self::Exec,
        Self::Kill,
        Self::Evidence,
        Self::SentryDead,
        Self::RealShimDead,
        Self::StateFileGone,
        Self::Leaving,
        Self::Releasing,
    ];

    fn is_of_an_end(self) -> bool {
        !matches!(self, Self::Idle | Self::Exec)
    }

    /// The guard leaves by itself: it may have gone before the signal comes, and then the moment is tried again.
    fn is_of_a_farewell(self) -> bool {
        matches!(self, Self::Leaving | Self::Releasing)
    }

    fn is_of_a_wedge(self) -> bool {
        self.is_of_an_end() && !self.is_of_a_farewell()
    }
}

/// A sandbox whose guard will be killed.
struct Victim {
    id: String,
    namespace: String,
    sandbox: Sandbox,
    guard: Process,
    socket: PathBuf,
}

impl Victim {
    fn of(host: &Host, namespace: &str, id: &str) -> Result<Self> {
        let sandbox = Sandbox::of(host, id)?;
        let guard = sandbox.guard.clone().context("no guard")?;
        let text = std::fs::read_to_string(host.bundle(namespace, id).join("bootstrap.json"))?;
        let bootstrap: serde_json::Value = serde_json::from_str(&text)?;
        let address = bootstrap["address"].as_str().context("no address")?;
        let socket = address.trim_start_matches("unix://").into();
        Ok(Self { id: id.to_owned(), namespace: namespace.to_owned(), sandbox, guard, socket })
    }

    /// Whether the moment has come; the looks follow each other without a pause, for the moments are short.
    fn reached(&self, host: &Host, moment: Moment) -> bool {
        match moment {
            Moment::Idle | Moment::Exec => true,
            Moment::Kill => {
                let root = format!("--root={}", host.runsc_root(&self.namespace).display());
                Process::all().iter().any(|process| {
                    let says = |word: &str| process.args.iter().any(|arg| arg == word);
                    (says("kill") || says("state")) && says(&root)
                })
            }
            Moment::Evidence => std::fs::read_dir(host.path().join("reports")).is_ok_and(|reports| {
                reports.flatten().any(|report| report.file_name().to_string_lossy().contains(&self.id))
            }),
            Moment::SentryDead => !self.sandbox.sentry.is_alive(),
            Moment::RealShimDead | Moment::Releasing => !self.sandbox.real_shim.is_alive(),
            Moment::StateFileGone => {
                !host.runsc_root(&self.namespace).join(format!("{0}_sandbox:{0}.state", self.id)).exists()
            }
            Moment::Leaving => !self.socket.exists(),
        }
    }

    /// Kills the guard at its moment; false if it had left by itself before.
    fn kill_at(&self, host: &Host, moment: Moment) -> Result<bool> {
        let began = Instant::now();
        while !self.reached(host, moment) {
            ensure!(began.elapsed() < patience(CLEANED), "{moment:?} never came");
        }
        let there = self.guard.signal(Signal::KILL).is_ok();
        self.guard.wait_gone(CLEANED)?;
        Ok(there)
    }
}

/// All exits that subscribers saw of one container: at most the guard's and containerd's own, and both the same.
fn exits_agree(events: &EventLog, id: &str) -> Result<Vec<Event>> {
    let mut exits = events.of_task(id);
    exits.retain(|event| event.topic == "/tasks/exit" && event.text("id") == id);
    ensure!(exits.len() <= 2, "{} exits: {exits:?}", exits.len());
    ensure!(exits.windows(2).all(|pair| pair[0].body == pair[1].body), "they differ: {exits:?}");
    Ok(exits)
}

/// containerd has run `delete` and forgotten the task.
fn forgotten(host: &Host, id: &str, killed: Instant) -> Result<()> {
    eventually(CLEANED, "containerd has forgotten the task", || {
        let known = host.ctr().tasks(CLEANED).ok()?.iter().any(|task| task.id == id);
        (!known).then_some(())
    })?;
    let took = killed.elapsed();
    ensure!(took <= DELETE, "{id}: it took {took:?}");
    Ok(())
}

/// Until the guard was killed in `moment`, and had not gone by itself.
fn killed_at(moment: Moment, mut one: impl FnMut(&str) -> Result<bool>) -> Result<()> {
    let tries = if moment.is_of_a_farewell() { TRIES } else { 1 };
    for number in 0..tries {
        if one(&format!("{moment:?}-{number}").to_lowercase()).with_context(|| format!("{moment:?}"))? {
            return Ok(());
        }
    }
    bail!("{moment:?}: in {tries} tries the guard was gone before it could be killed")
}

/// Whether the guard was killed.
fn a_container_is_ended(host: &Host, events: &EventLog, moment: Moment, id: &str) -> Result<bool> {
    let ctr = host.ctr();
    let before = Resources::of(host);
    ctr.start(&host.handler("guarded")?, id, &["sleep", "1000"])?;
    let victim = Victim::of(host, ctr.namespace(), id)?;
    if moment.is_of_a_wedge() {
        victim.sandbox.stop_sentry()?;
    }
    let (killed, there) = thread::scope(|scope| {
        if moment == Moment::Exec {
            scope.spawn(|| ctr.exec(id, "e", &["sleep", "1000"], b"", CLEANED));
            eventually(CLEANED, "the exec runs", || {
                let seen = events.of_task(id);
                seen.iter().any(|event| event.topic == "/tasks/exec-started").then_some(())
            })?;
        }
        if moment.is_of_an_end() {
            scope.spawn(|| ctr.force_delete_task(id, CLEANED));
        }
        let there = victim.kill_at(host, moment)?;
        let killed = Instant::now();
        forgotten(host, id, killed)?;
        anyhow::Ok((killed, there))
    })?;
    let left = DELETE.saturating_sub(killed.elapsed()).max(Duration::from_secs(1));
    assert_nothing_left_within(host, &before, left)?;
    let how = if there { "killed" } else { "gone already" };
    println!("container, {moment:?}: the guard was {how}; nothing left after {:?}", killed.elapsed());
    ctr.delete_container(id)?;
    let exits = exits_agree(events, id)?;
    let exit = exits.first().context("no exit was published")?;
    ensure!(exit.number("exit_status") == 137, "{exits:?}");
    ensure!(exit.number("pid") == u64::from(victim.sandbox.sentry.pid.unsigned_abs()), "{exits:?}");
    Ok(there)
}

#[test]
fn a_containers_guard_is_killed_at_every_kind_of_moment() -> Result<()> {
    let host = Host::guarded("1s")?;
    let events = EventLog::start(&host.ctr())?;
    for moment in Moment::ALL {
        killed_at(moment, |id| a_container_is_ended(&host, &events, moment, id))?;
    }
    Ok(())
}

/// A pod of three containers.
struct Three {
    pod: Pod,
    containers: Vec<PodContainer>,
}

impl Three {
    fn run(cri: &Cri, name: &str) -> Result<Self> {
        let pod = cri.run_pod("guarded", name)?;
        let run = |number: &str| cri.run_container(&pod, number, &["sleep", "1000"]);
        let containers = ["one", "two", "three"].iter().map(|number| run(number)).collect::<Result<_>>()?;
        Ok(Self { pod, containers })
    }

    /// The ids of all members, the pod's first.
    fn members(&self) -> Vec<String> {
        let containers = self.containers.iter().map(|container| container.id.clone());
        std::iter::once(self.pod.id.clone()).chain(containers).collect()
    }

    fn ended(&self, cri: &Cri) -> Result<()> {
        eventually(CLEANED, "the pod is not ready and its containers have exited", || {
            let containers = cri.containers(CLEANED).ok()?;
            let pods = cri.pods(CLEANED).ok()?;
            let exited =
                |one: &PodContainer| containers.iter().any(|(id, state)| *id == one.id && *state == 2);
            let ready = pods.iter().any(|(id, state)| *id == self.pod.id && *state == 0);
            (self.containers.iter().all(exited) && !ready).then_some(())
        })
    }
}

fn a_pod_is_ended(host: &Host, events: &EventLog, moment: Moment, name: &str) -> Result<bool> {
    let cri = host.cri()?;
    let before = Resources::of(host);
    let pod = Three::run(&cri, name)?;
    let victim = Victim::of(host, "k8s.io", &pod.pod.id)?;
    if moment.is_of_a_wedge() {
        victim.sandbox.stop_sentry()?;
    }
    let (killed, there) = thread::scope(|scope| {
        if moment == Moment::Exec {
            let exec = || {
                host.cri()?.exec(&pod.containers[1], &["sleep", "1000"], CLEANED).map_err(anyhow::Error::from)
            };
            scope.spawn(exec);
            eventually(CLEANED, "the exec runs", || {
                let seen = events.of_task(&pod.containers[1].id);
                seen.iter().any(|event| event.topic == "/tasks/exec-started").then_some(())
            })?;
        }
        if moment.is_of_an_end() {
            // As a kubelet, until it works.
            scope.spawn(|| {
                let cri = host.cri()?;
                eventually(2 * CLEANED, "StopPodSandbox works", || cri.stop_pod(&pod.pod, CLEANED).ok())
            });
        }
        let there = victim.kill_at(host, moment)?;
        let killed = Instant::now();
        pod.ended(&cri)?;
        let took = killed.elapsed();
        let how = if there { "killed" } else { "gone already" };
        println!("pod, {moment:?}: the guard was {how}; ended after {took:?}");
        ensure!(took <= DELETE, "late: {took:?}");
        anyhow::Ok((killed, there))
    })?;
    println!("pod, {moment:?}: its StopPodSandbox works after {:?}", killed.elapsed());
    cri.end_pod(&pod.pod)?;
    assert_nothing_left(host, &before, CLEANED)?;
    for id in pod.members() {
        ensure!(!exits_agree(events, &id)?.is_empty(), "no exit of {id} was published");
    }
    Ok(there)
}

#[test]
fn a_pods_guard_is_killed_at_every_kind_of_moment() -> Result<()> {
    let host = Host::guarded("1s")?;
    let events = EventLog::start(&host.ctr().in_namespace("k8s.io"))?;
    for moment in Moment::ALL {
        killed_at(moment, |name| a_pod_is_ended(&host, &events, moment, name))?;
    }
    Ok(())
}

/// Kills the guard of `id` while its Create is under way, as soon as `begun` says so.
fn killed_in_create(
    host: &Host,
    id: &str,
    begun: impl Fn() -> bool,
    create: impl FnOnce() + Send,
) -> Result<()> {
    let before = Resources::of(host);
    let killed = thread::scope(|scope| {
        scope.spawn(create);
        eventually(CLEANED, "Create is under way", || begun().then_some(()))?;
        let guard = faults::guard(host, id).context("no guard")?;
        guard.signal(Signal::KILL)?;
        anyhow::Ok(Instant::now())
    })?;
    assert_nothing_left(host, &before, DELETE)?;
    println!("{id}: nothing left after {:?}", killed.elapsed());
    Ok(())
}

#[test]
fn a_guard_killed_in_create_leaves_nothing() -> Result<()> {
    let host = Host::guarded("1s")?;
    let ctr = host.ctr();
    let trigger = host.path().join("slow");
    let runsc = faults::slow_create(&host, "runsc-slow", &trigger, 1000)?;
    let handler = host.handler("guarded")?;
    host.add_handler(&Handler::guarded("slow").runsc(runsc))?;
    let slow = host.handler("slow")?;

    // runsc create has not begun: there is no state file, no sentry and no cgroup.
    std::fs::write(&trigger, "")?;
    let start = || drop(ctr.start(&slow, "before", &["sleep", "1000"]));
    killed_in_create(&host, "before", || !trigger.exists(), start)?;
    ctr.delete_container("before")?;

    // runsc create has begun: a sentry is there, the state file is or is not.
    for round in 0..5 {
        let id = format!("amid{round}");
        let start = || drop(ctr.start(&handler, &id, &["sleep", "1000"]));
        let sentry = || {
            host.processes().iter().any(|one| one.args.last() == Some(&id) && one.args[0] == "runsc-sandbox")
        };
        killed_in_create(&host, &id, sentry, start)?;
        ctr.delete_container(&id)?;
    }

    // runsc create is done, and Create hangs all the same.
    let args = ctr.bare_run_args(&handler, &["--detach", "--null-io"], "after", &["sleep", "1000"]);
    let start = || drop(harness::run(&mut ctr.command(&args), b"", CLEANED));
    let state = host.runsc_root(ctr.namespace()).join("after_sandbox:after.state");
    killed_in_create(&host, "after", || state.exists(), start)?;
    ctr.delete_container("after")
}

/// A pod's second container is being created, slowly, when the guard dies.
#[test]
fn a_pods_guard_killed_in_a_members_create_ends_the_pod() -> Result<()> {
    let host = Host::guarded("1s")?;
    let trigger = host.path().join("slow");
    let runsc = faults::slow_create(&host, "runsc-slow", &trigger, 1000)?;
    host.add_handler(&host.handler("guarded")?.runsc(runsc))?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = cri.run_pod("guarded", "subject")?;
    let one = cri.run_container(&pod, "one", &["sleep", "1000"])?;
    let guard = faults::guard(&host, &pod.id).context("no guard")?;
    std::fs::write(&trigger, "")?;
    thread::scope(|scope| {
        scope.spawn(|| host.cri()?.run_container(&pod, "two", &["sleep", "1000"]));
        eventually(CLEANED, "Create is under way", || (!trigger.exists()).then_some(()))?;
        guard.signal(Signal::KILL)
    })?;
    Three { pod: pod.clone(), containers: vec![one] }.ended(&cri)?;
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, CLEANED)
}

/// What is done to a file.
type Damage = fn(&Path) -> Result<()>;

/// Ways in which a file can be of no use, or of less.
fn damages() -> Vec<(&'static str, Damage)> {
    fn edit(path: &Path, change: impl Fn(&mut serde_json::Value)) -> Result<()> {
        let mut value = serde_json::from_slice(&std::fs::read(path)?)?;
        change(&mut value);
        Ok(std::fs::write(path, serde_json::to_vec(&value)?)?)
    }
    vec![
        ("missing", |path| Ok(std::fs::remove_file(path)?)),
        ("empty", |path| Ok(std::fs::write(path, "")?)),
        ("truncated", |path| {
            let whole = std::fs::read(path)?;
            Ok(std::fs::write(path, &whole[..whole.len() / 2])?)
        }),
        ("of another boot", |path| {
            edit(path, |value| {
                value["boot_id"] = "11111111-2222-3333-4444-555555555555".into();
                // runsc's own file knows no boot: only its pids are old.
                if !value["sandbox"]["pid"].is_null() {
                    value["sandbox"]["pid"] = 2.into();
                    value["goferPid"] = 3.into();
                }
            })
        }),
        ("newer", |path| {
            edit(path, |value| {
                value["version"] = 1000.into();
                value["a_field_of_tomorrow"] = serde_json::json!({"deep": [1, "two", null]});
            })
        }),
        ("older", |path| {
            edit(path, |value| {
                value["version"] = 0.into();
                for field in ["real_shim", "guard", "folder"] {
                    if let Some(object) = value.as_object_mut() {
                        object.remove(field);
                    }
                }
            })
        }),
    ]
}

#[test]
fn a_damaged_record_or_state_file_leaves_nothing() -> Result<()> {
    let host = Host::guarded("1s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    for (what, damage) in damages() {
        for runscs in [false, true] {
            let id = if runscs { "state" } else { "record" };
            ctr.start(&host.handler("guarded")?, id, &["sleep", "1000"])?;
            let record = host.bundle(ctr.namespace(), id).join("runsc-guard.json");
            let state = host.runsc_root(ctr.namespace()).join(format!("{id}_sandbox:{id}.state"));
            damage(if runscs { &state } else { &record }).with_context(|| format!("{id} {what}"))?;
            faults::guard(&host, id).context("no guard")?.signal(Signal::KILL)?;
            let killed = Instant::now();
            forgotten(&host, id, killed).with_context(|| format!("{id} {what}"))?;
            assert_nothing_left(&host, &before, CLEANED).with_context(|| format!("{id} {what}"))?;
            println!("{id} {what}: nothing left after {:?}", killed.elapsed());
            ctr.delete_container(id)?;
        }
    }
    Ok(())
}

/// Everything that tells is gone at once, the bundle included.
#[test]
fn with_no_file_left_delete_still_finds_the_sandbox() -> Result<()> {
    let host = Host::guarded("1s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let bundle = host.bundle(ctr.namespace(), "subject");
    host.stop_containerd();
    sandbox.guard.clone().context("no guard")?.signal(Signal::KILL)?;
    for file in ["runsc-guard.json", "config.json", "state.json"] {
        std::fs::remove_file(bundle.join(file))?;
    }
    std::fs::remove_file(host.runsc_root(ctr.namespace()).join("subject_sandbox:subject.state"))?;
    let deleted = binary::delete(&host, ctr.namespace(), "subject", &bundle)?;
    println!("with no file left: {deleted:?}");
    ensure!(!sandbox.sentry.is_alive() && !sandbox.real_shim.is_alive(), "it lives on");
    host.start_containerd()?;
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, CLEANED)
}

#[test]
fn many_deletes_at_once_tear_down_once_and_answer_the_same() -> Result<()> {
    let host = Host::guarded("1s")?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = Three::run(&cri, "subject")?;
    let victim = Victim::of(&host, "k8s.io", &pod.pod.id)?;
    host.stop_containerd();
    victim.guard.signal(Signal::KILL)?;
    victim.guard.wait_gone(CLEANED)?;
    let ids: Vec<String> = [pod.members(), pod.members()].concat();
    let answers = thread::scope(|scope| {
        let deletes: Vec<_> = ids
            .iter()
            .map(|id| {
                let host = &host;
                scope.spawn(move || binary::delete(host, "k8s.io", id, &host.bundle("k8s.io", id)))
            })
            .collect();
        let join = |one: thread::ScopedJoinHandle<'_, Result<_>>| match one.join() {
            Ok(answer) => answer,
            Err(_) => bail!("a thread panicked"),
        };
        deletes.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    for (id, answer) in ids.iter().zip(&answers) {
        println!("{id}: {answer:?}");
        ensure!(answer.took < DELETE, "{id}: late: {answer:?}");
        ensure!(answer.exit_status == 137 && answer.note.is_empty(), "{id}: {answer:?}");
        let again = binary::delete(&host, "k8s.io", id, &host.bundle("k8s.io", id))?;
        ensure!(again.exit() == answer.exit(), "{id}: {answer:?}, then {again:?}");
    }
    let times: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.exited_at).collect();
    ensure!(times.len() <= pod.members().len(), "torn down more than once: {times:?}");
    ensure!(!victim.sandbox.sentry.is_alive(), "the sentry lives");
    host.start_containerd()?;
    let cri = host.cri()?;
    pod.ended(&cri)?;
    cri.end_pod(&pod.pod)?;
    assert_nothing_left(&host, &before, CLEANED)
}

#[test]
fn delete_of_one_container_of_a_living_pod_ends_that_one_only() -> Result<()> {
    let host = Host::guarded("1s")?;
    let cri = host.cri()?;
    let before = Resources::of(&host);
    let pod = Three::run(&cri, "subject")?;
    let victim = Victim::of(&host, "k8s.io", &pod.pod.id)?;
    let doomed = &pod.containers[1];
    let deleted = binary::delete(&host, "k8s.io", &doomed.id, &host.bundle("k8s.io", &doomed.id))?;
    println!("delete of a living pod's container: {deleted:?}");
    ensure!(deleted.exit_status == 137 && deleted.took < DELETE, "{deleted:?}");
    eventually(CLEANED, "it has exited", || {
        let all = cri.containers(CLEANED).ok()?;
        all.iter().any(|(id, state)| *id == doomed.id && *state == 2).then_some(())
    })?;
    for sibling in [&pod.containers[0], &pod.containers[2]] {
        let answer = cri.exec(sibling, &["echo", "well"], CLEANED)?;
        ensure!(answer.stdout == b"well\n", "{answer:?}");
    }
    for process in [&victim.sandbox.sentry, &victim.sandbox.real_shim, &victim.guard] {
        process.assert_spared()?;
    }
    cri.end_pod(&pod.pod)?;
    assert_nothing_left(&host, &before, CLEANED)
}

/// A container that exited by itself before the guard died keeps its pid, status and time.
#[test]
fn containerds_own_exit_is_the_one_that_the_guard_published() -> Result<()> {
    let host = Host::guarded("1s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let events = EventLog::start(&ctr)?;
    ctr.start(&host.handler("guarded")?, "subject", &["sh", "-c", "sleep 1; exit 3"])?;
    let guard = faults::guard(&host, "subject").context("no guard")?;
    eventually(CLEANED, "the guard has published the exit", || {
        (events.exits("subject", "subject") == 1).then_some(())
    })?;
    guard.signal(Signal::KILL)?;
    eventually(CLEANED, "containerd has published its own", || {
        (events.exits("subject", "subject") == 2).then_some(())
    })?;
    let exits = exits_agree(&events, "subject")?;
    ensure!(exits[0].number("exit_status") == 3, "{exits:?}");
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, CLEANED)
}

/// One that ran when the guard died is published with what the record says, whoever asked `delete` first.
#[test]
fn containerds_own_exit_is_the_recorded_one() -> Result<()> {
    let host = Host::guarded("1s")?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let events = EventLog::start(&ctr)?;
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    faults::guard(&host, "subject").context("no guard")?.signal(Signal::KILL)?;
    let first = binary::delete(&host, ctr.namespace(), "subject", &host.bundle(ctr.namespace(), "subject"))?;
    containerd.signal(Signal::CONT)?;
    eventually(CLEANED, "containerd has published", || {
        (events.exits("subject", "subject") == 1).then_some(())
    })?;
    let exit = exits_agree(&events, "subject")?.remove(0);
    ensure!(
        exit.number("pid") == u64::from(first.pid)
            && exit.number("exit_status") == u64::from(first.exit_status),
        "{exit:?}"
    );
    let at = (exit.body["exited_at"]["seconds"].as_i64(), exit.body["exited_at"]["nanos"].as_i64());
    let recorded = (Some(first.exited_at.0), Some(first.exited_at.1.into()));
    ensure!(at == recorded, "{exit:?} is not of {:?}", first.exited_at);
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, CLEANED)
}
