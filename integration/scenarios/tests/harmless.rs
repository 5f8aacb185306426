//! What looks like a wedge and is none: the sandbox is left alone (rules 2 and 7).

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api;
use harness::{
    Handler, Host, SOON, TaskClient, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_gone, assert_nothing_left},
    promise::ESCALATION,
    traces::entries,
};
use rustix::process::Signal;
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the guard is stopped: longer than any deadline that is open meanwhile.
const STOPPED: Duration = Duration::from_secs(30);

/// A slow rootfs mount holds the real shim's one lock, and so its siblings' requests wait. The siblings ask for
/// an exec, a kill and see an exit meanwhile; none of that is a wedge.
#[test]
fn a_slow_create_beside_its_siblings_costs_nobody_the_sandbox() -> Result<()> {
    const SLOW: u32 = 60;
    let host = Host::with([Handler::guarded("slow")])?;
    let before = Resources::of(&host);
    let trigger = host.path().join("slow");
    let runsc = faults::slow_create(&host, "runsc-slow", &trigger, SLOW)?;
    host.add_handler(&host.handler("slow")?.runsc(runsc))?;
    let cri = host.cri()?;
    let pod = cri.run_pod("slow", "subject")?;
    let stays = cri.run_container(&pod, "stays", &["sleep", "1000"])?;
    let killed = cri.run_container(&pod, "killed", &["sleep", "1000"])?;
    let exits = cri.run_container(&pod, "exits", &["sh", "-c", "sleep 5; exit 3"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;

    std::fs::write(&trigger, "")?;
    let began = Instant::now();
    let slow = thread::scope(|scope| {
        let slow = scope.spawn(|| host.cri()?.run_container(&pod, "slow", &["sleep", "1000"]));
        eventually(SOON, "the slow create is under way", || (!trigger.exists()).then_some(()))?;
        let exec =
            scope.spawn(|| host.cri()?.exec(&stays, &["echo", "well"], SOON).map_err(anyhow::Error::from));
        // As a kubelet: an error is a reason to ask again.
        let kill = scope.spawn(|| {
            let cri = host.cri()?;
            eventually(6 * SOON, "StopContainer works", || {
                let answer = cri.stop_container(&killed, 0, SOON);
                println!("kill meanwhile: {answer:?} after {:?}", began.elapsed());
                answer.ok()
            })
        });
        let joined = |_| anyhow::anyhow!("a thread panicked");
        let exec = exec.join().map_err(joined)?;
        println!("exec meanwhile: {exec:?} after {:?}", began.elapsed());
        kill.join().map_err(joined)??;
        slow.join().map_err(joined)?
    })
    .context("the slow container")?;
    ensure!(began.elapsed() >= Duration::from_secs(SLOW.into()), "it was not slow");

    sandbox.sentry.assert_spared()?;
    sandbox.real_shim.assert_spared()?;
    for container in [&stays, &slow] {
        let answer = cri.exec(container, &["echo", "well"], SOON)?;
        ensure!(answer.stdout == b"well\n", "{answer:?}");
    }
    eventually(SOON, "killed and exited", || {
        let all = cri.containers(SOON).ok()?;
        let ended = |id: &str| all.iter().any(|(other, state)| other == id && *state == 2);
        (ended(&killed.id) && ended(&exits.id)).then_some(())
    })?;
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, SOON)
}

/// A timer that fires late because the guard was stopped says nothing about the sandbox. One is open: a container of a pod
/// was killed, and the real shim does not say that it has ended before the guard runs again.
#[test]
fn a_deadline_that_passes_while_the_guard_is_stopped_costs_nobody_the_sandbox() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(8);
    let limit = format!("\"{}s\"", LIMIT.as_secs());
    let host = Host::with([Handler::quick("late", "2s").guard("hard_limit", &limit)])?;
    let trigger = host.path().join("untold");
    let runsc = faults::late_wait(&host, "runsc-late", &trigger)?;
    host.add_handler(&host.handler("late")?.runsc(runsc))?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pod = cri.run_pod("late", "subject")?;
    let stays = cri.run_container(&pod, "stays", &["sleep", "1000"])?;
    let killed = cri.run_container(&pod, "killed", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    let guard = sandbox.guard.clone().context("no guard")?;
    std::fs::write(&trigger, "")?;
    let stopped = thread::scope(|scope| {
        let began = Instant::now();
        let kill =
            scope.spawn(|| host.cri()?.stop_container(&killed, 0, 6 * SOON).map_err(anyhow::Error::from));
        eventually(SOON, "it has ended, and nobody is told", || {
            trigger.with_extension("reached").exists().then_some(())
        })?;
        faults::stop(&guard)?;
        ensure!(began.elapsed() < LIMIT / 2, "too slow: {:?} of {LIMIT:?} have passed", began.elapsed());
        // The scenario itself, not a wait for a fact.
        thread::sleep(STOPPED);
        guard.signal(Signal::CONT)?;
        // Nor is this: who blames somebody does so now, and the half of its time is left.
        let blamed = sandbox.sentry.gone_within(Duration::from_secs(2));
        std::fs::remove_file(&trigger)?;
        ensure!(blamed.is_err(), "the sandbox was ended");
        kill.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    });
    // Whatever came of it, nobody is to wait for the end of a test.
    let _ = std::fs::remove_file(&trigger);
    stopped?;
    sandbox.sentry.assert_spared()?;
    let answer = cri.exec(&stays, &["echo", "well"], SOON)?;
    ensure!(answer.stdout == b"well\n", "{answer:?}");
    let reports = entries(&host.path().join("reports"));
    ensure!(reports.is_empty(), "nothing hung, and there are reports: {reports:?}");
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, SOON)
}

/// What was asked for before the guard was stopped still comes true afterwards.
#[test]
fn a_guard_stopped_for_thirty_seconds_leaves_the_sandbox_alone() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let guard = sandbox.guard.clone().context("no guard")?;
    thread::scope(|scope| {
        // Under way when the guard is stopped; what it asks for must still come true afterwards. It must not end
        // meanwhile: gVisor's shim takes an event that nobody acknowledges for 10 s as a reason to panic.
        let script = "touch /ready; until [ -e /go ]; do sleep 0.05; done; echo well";
        let exec = scope.spawn(|| ctr.exec("subject", "e", &["sh", "-c", script], b"", 3 * SOON));
        eventually(SOON, "the exec runs", || {
            ctr.exec("subject", "look", &["ls", "/ready"], b"", SOON).ok()?.success().then_some(())
        })?;
        faults::stop(&guard)?;
        // The scenario itself, not a wait for a fact.
        thread::sleep(STOPPED);
        guard.signal(Signal::CONT)?;
        ensure!(ctr.exec("subject", "go", &["touch", "/go"], b"", SOON)?.success(), "exec afterwards");
        let exec = exec.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        ensure!(exec.stdout == "well\n", "{exec:?}");
        anyhow::Ok(())
    })?;
    sandbox.sentry.assert_spared()?;
    ctr.remove("subject")?;
    assert_nothing_left(&host, &before, SOON)
}

/// A caller's own short timeout costs the caller its answer, not the sandbox its time.
#[test]
fn a_caller_with_two_seconds_does_not_advance_the_end() -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(8);
    let host = Host::guarded("8s")?;
    let ctr = host.ctr();
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    sandbox.stop_sentry()?;
    let client = TaskClient::connect(&host, ctr.namespace(), "subject")?;
    let kill = api::KillRequest { id: "subject".to_owned(), signal: 9, ..Default::default() };
    let began = Instant::now();
    let answer = client.call::<_, api::Empty>("Kill", &kill, Duration::from_secs(2));
    println!("Kill with a timeout of 2 s: {answer:?} after {:?}", began.elapsed());
    let gone = sandbox.sentry.gone_within(DEADLINE - began.elapsed() - Duration::from_millis(500));
    ensure!(gone.is_err(), "ended before its deadline, after {:?}", began.elapsed());
    sandbox.sentry.gone_within((DEADLINE + ESCALATION).saturating_sub(began.elapsed()))?;
    println!("the sandbox ended after {:?} (deadline {DEADLINE:?})", began.elapsed());
    ctr.delete_task("subject", SOON)?.ok()?;
    ctr.delete_container("subject")?;
    assert_gone(&host, "subject", SOON)
}
