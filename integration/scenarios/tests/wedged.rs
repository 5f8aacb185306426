//! Each wedge first wedges the unguarded shim; then the guard ends the same one by its deadline, cleanly.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Neighbour, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    promise::{DEADLINE, ESCALATION, MARGIN, QUERY},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// A way to wedge the stand-alone container `subject`; what it returns holds the wedge until dropped.
type Fault = fn(&Host, &str) -> Result<Option<rustix::fd::OwnedFd>>;

fn host(handler: impl Fn(Handler) -> Handler, guarded: bool) -> Result<Host> {
    let base = if guarded {
        Handler::quick("subject", "2s").guard("create_deadline", "\"2s\"")
    } else {
        Handler::unguarded("subject")
    };
    let neighbour = if guarded { Handler::guarded("neighbour") } else { Handler::unguarded("neighbour") };
    Host::builder().handler(handler(base)).handler(neighbour).start()
}

/// Asks for the end again and again, as containerd's clients do, until it comes or `limit` passes.
fn ask_until(limit: Duration, mut ask: impl FnMut(Duration) -> Result<bool>) -> Result<Option<Duration>> {
    let began = Instant::now();
    while let Some(left) = limit.checked_sub(began.elapsed()) {
        if ask(left)? {
            return Ok(Some(began.elapsed()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

fn force_delete(host: &Host, limit: Duration) -> Result<Option<Duration>> {
    let ctr = host.ctr();
    ask_until(limit, |left| Ok(ctr.force_delete_task("subject", left)?.success()))
}

/// Runs the unguarded and the guarded half of a scenario side by side; both must hold.
fn both(
    unguarded: impl FnOnce() -> Result<()> + Send,
    guarded: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    let panicked = |_| anyhow::anyhow!("one half panicked");
    thread::scope(|scope| {
        let unguarded = scope.spawn(unguarded);
        let guarded = guarded();
        unguarded.join().map_err(panicked)??;
        guarded
    })
}

/// Both halves of a wedge of a stand-alone container, at the same time.
fn stand_alone(name: &str, handler: fn(&Host) -> Result<Option<Handler>>, fault: Fault) -> Result<()> {
    both(|| unguarded_container(name, handler, fault), || guarded_container(name, handler, fault))
}

fn plain(_: &Host) -> Result<Option<Handler>> {
    Ok(None)
}

fn unguarded_container(
    name: &str,
    handler: fn(&Host) -> Result<Option<Handler>>,
    fault: Fault,
) -> Result<()> {
    let host = host(|handler| handler, false)?;
    if let Some(changed) = handler(&host)? {
        host.add_handler(&changed)?;
    }
    host.ctr().start(&host.handler("subject")?, "subject", &["sleep", "100000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let _held = fault(&host, "subject").context("the fault itself")?;
    let limit = QUERY + DEADLINE + ESCALATION + MARGIN;
    let ended = force_delete(&host, limit)?;
    let left = Resources::of(&host).naming("subject").processes.len();
    println!("{name}: unguarded: ended {ended:?} within {limit:?}, {left} processes left");
    ensure!(ended.is_none(), "{name} does not wedge the unguarded shim: ended in {ended:?}");
    ensure!(sandbox.sentry.is_alive(), "{name}: the unguarded sentry is gone");
    Ok(())
}

fn guarded_container(name: &str, handler: fn(&Host) -> Result<Option<Handler>>, fault: Fault) -> Result<()> {
    let host = host(|handler| handler, true)?;
    let neighbour = Neighbour::start(&host)?;
    let before = Resources::of(&host);
    if let Some(changed) = handler(&host)? {
        host.add_handler(&changed)?;
    }
    let ctr = host.ctr();
    ctr.start(&host.handler("subject")?, "subject", &["sleep", "100000"])?;
    let held = fault(&host, "subject").context("the fault itself")?;
    let ended = force_delete(&host, QUERY + DEADLINE + ESCALATION + MARGIN)?;
    println!("{name}: guarded: ended in {ended:?} (deadline {DEADLINE:?})");
    let ended = ended.with_context(|| format!("{name}: the guard did not end it"))?;
    ensure!(ended <= QUERY + DEADLINE + ESCALATION, "{name}: the guard was late: {ended:?}");
    ensure!(ctr.tasks(Duration::from_secs(3))?.is_empty(), "containerd still lists the task");
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;
    drop(held);
    host.add_handler(&Handler::guarded("again"))?;
    ctr.start(&host.handler("again")?, "subject", &["sleep", "100000"])
        .context("the id is not usable again")?;
    ctr.remove("subject")?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;
    neighbour.assert_untouched(&host)
}

#[test]
fn a_stopped_sentry_ends_on_time() -> Result<()> {
    stand_alone("sentry stopped", plain, |host, id| {
        Sandbox::of(host, id)?.stop_sentry()?;
        Ok(None)
    })
}

#[test]
fn everything_but_the_guard_stopped_ends_on_time() -> Result<()> {
    stand_alone("all but the guard stopped", plain, |host, id| {
        Sandbox::of(host, id)?.stop_all_but_guard()?;
        Ok(None)
    })
}

#[test]
fn a_stopped_real_shim_ends_on_time() -> Result<()> {
    stand_alone("real shim stopped", plain, |host, id| {
        faults::stop(&Sandbox::of(host, id)?.real_shim)?;
        Ok(None)
    })
}

#[test]
fn a_frozen_cgroup_ends_on_time() -> Result<()> {
    stand_alone("freezer cgroup", plain, |host, id| {
        Sandbox::of(host, id)?.freeze()?;
        Ok(None)
    })
}

#[test]
fn a_runsc_kill_that_never_returns_ends_on_time() -> Result<()> {
    fn hanging(host: &Host) -> Result<Option<Handler>> {
        let runsc = faults::hanging_runsc(host, "runsc-hanging", "kill", "subject")?;
        Ok(Some(host.handler("subject")?.runsc(runsc)))
    }
    stand_alone("runsc kill hangs", hanging, |_, _| Ok(None))
}

#[test]
fn a_held_state_lock_ends_on_time() -> Result<()> {
    stand_alone("state lock held", plain, |host, id| faults::hold_lock(host, &host.ctr(), id).map(Some))
}

/// Both halves of a wedge of a pod with one container, ended by StopPodSandbox.
fn pod(name: &str, fault: fn(&Host, &str) -> Result<()>) -> Result<()> {
    both(|| wedged_pod(name, fault, false), || wedged_pod(name, fault, true))
}

fn wedged_pod(name: &str, fault: fn(&Host, &str) -> Result<()>, guarded: bool) -> Result<()> {
    let host = host(|handler| handler, guarded)?;
    let cri = host.cri()?;
    let neighbour = Neighbour::start(&host)?;
    let before = Resources::of(&host);
    let subject = cri.run_pod("subject", "subject")?;
    cri.run_container(&subject, "c", &["sleep", "100000"])?;
    let sandbox = Sandbox::of(&host, &subject.id)?;
    fault(&host, &subject.id).context("the fault itself")?;
    let limit = QUERY + DEADLINE + ESCALATION + MARGIN;
    let ended = ask_until(limit, |left| Ok(cri.stop_pod(&subject, left).is_ok()))?;
    if !guarded {
        let left = Resources::of(&host).since(&before).processes.len();
        println!("{name}: unguarded: ended {ended:?} within {limit:?}, {left} processes left");
        ensure!(ended.is_none(), "{name} does not wedge the unguarded shim: ended in {ended:?}");
        ensure!(sandbox.sentry.is_alive(), "{name}: the unguarded sentry is gone");
        return Ok(());
    }
    println!("{name}: guarded: ended in {ended:?} (deadline {DEADLINE:?})");
    let ended = ended.with_context(|| format!("{name}: the guard did not end it"))?;
    ensure!(ended <= QUERY + DEADLINE + ESCALATION, "{name}: the guard was late: {ended:?}");
    // CRI's list follows the pod's end by a moment of its own.
    eventually(Duration::from_secs(2), "containerd calls the pod not ready", || {
        let pods = cri.pods(Duration::from_secs(5)).ok()?;
        pods.iter().all(|(id, state)| *id != subject.id || *state == 1).then_some(())
    })?;
    cri.remove_pod(&subject, Duration::from_secs(10))?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;
    let again = cri.run_pod("subject", "subject").context("the name is not usable again")?;
    cri.run_container(&again, "c", &["sleep", "100000"])?;
    cri.end_pod(&again)?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;
    neighbour.assert_untouched(&host)
}

#[test]
fn a_pod_with_a_stopped_sentry_ends_on_time() -> Result<()> {
    pod("pod, sentry stopped", |host, id| Sandbox::of(host, id)?.stop_sentry())
}

#[test]
fn a_pod_with_everything_but_the_guard_stopped_ends_on_time() -> Result<()> {
    pod("pod, all but the guard stopped", |host, id| Sandbox::of(host, id)?.stop_all_but_guard())
}

/// The deterministic stand-in for `Kernel.WaitExited`: kills are acknowledged, nothing exits.
#[test]
fn a_pod_whose_kills_are_acknowledged_without_effect_ends_on_time() -> Result<()> {
    pod("pod, runsc pause", |host, id| faults::pause(host, &host.ctr().in_namespace("k8s.io"), id))
}

fn bare_run(host: &Host, limit: Duration) -> Result<harness::Outcome> {
    let ctr = host.ctr();
    let args = ctr.bare_run_args(
        &host.handler("subject")?,
        &["--detach", "--null-io"],
        "subject",
        &["sleep", "100000"],
    );
    harness::run(&mut ctr.command(&args), b"", limit)
}

#[test]
fn a_create_that_never_returns_wedges_the_unguarded_shim() {
    let host = host(|handler| handler, false).unwrap();
    let limit = QUERY + DEADLINE + ESCALATION + MARGIN;
    let outcome = bare_run(&host, limit).unwrap();
    let left = Resources::of(&host).naming("subject").processes.len();
    println!("bare ctr run: unguarded: no answer within {limit:?}, {left} processes left");
    assert!(outcome.timed_out(), "it does not wedge: {outcome:?}");
    assert!(left > 0);
}

#[test]
fn a_create_that_never_returns_is_torn_down_on_time() {
    let host = host(|handler| handler, true).unwrap();
    let neighbour = Neighbour::start(&host).unwrap();
    let before = Resources::of(&host);
    let outcome = bare_run(&host, DEADLINE + ESCALATION + MARGIN).unwrap();
    println!("bare ctr run: guarded: {outcome:?}");
    assert!(!outcome.timed_out() && !outcome.success(), "{outcome:?}");
    assert!(outcome.took <= DEADLINE + ESCALATION, "late: {:?}", outcome.took);
    assert!(outcome.stderr.contains("guard"), "who says so? {}", outcome.stderr);
    assert_nothing_left(&host, &before, Duration::from_secs(5)).unwrap();
    neighbour.assert_untouched(&host).unwrap();
}
