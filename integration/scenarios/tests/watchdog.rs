//! A sandbox that stops answering although nobody wants its end: reported, or ended where that is configured. One
//! that was paused on purpose, or answers behind a real shim that does not, is left alone.

use anyhow::{Result, ensure};
use containerd_shim_protos::api;
use harness::{
    Handler, Host, SOON, TaskClient, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// `watchdog_after`.
const AFTER: Duration = Duration::from_secs(2);
/// One Stats that is not answered, and silence that is measured over five seconds, of which `watchdog_after` has two.
const LATE: Duration = Duration::from_secs(6);

/// A running container `subject` under a guard whose watchdog is set to `watchdog`, and how to poll it.
fn subject(watchdog: &str) -> Result<(Host, Sandbox, TaskClient)> {
    let handler = Handler::guarded("guarded").guard("watchdog", watchdog);
    let handler = handler.guard("watchdog_after", "\"2s\"").guard("kill_deadline", "\"2s\"");
    let host = Host::with([handler])?;
    let ctr = host.ctr();
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let (sandbox, client) =
        (Sandbox::of(&host, "subject")?, TaskClient::connect(&host, ctr.namespace(), "subject")?);
    Ok((host, sandbox, client))
}

/// What containerd's metrics ask again and again.
fn poll(client: &TaskClient) -> Result<api::StatsResponse, ttrpc::Error> {
    let request = api::StatsRequest { id: "subject".to_owned(), ..Default::default() };
    client.call("Stats", &request, Duration::from_secs(2))
}

fn poll_until(client: &TaskClient, limit: Duration, what: &str, fact: impl Fn() -> bool) -> Result<Duration> {
    let began = Instant::now();
    eventually(limit, what, || {
        let _ = poll(client);
        fact().then_some(())
    })?;
    Ok(began.elapsed())
}

fn reports(host: &Host) -> usize {
    std::fs::read_dir(host.path().join("reports")).map_or(0, |entries| entries.flatten().count())
}

#[test]
fn a_silent_sandbox_is_reported_once_and_lives() -> Result<()> {
    let (host, sandbox, client) = subject("\"report\"")?;
    sandbox.stop_sentry()?;
    let says = |words: &str| host.log().matches(words).count();
    let took = poll_until(&client, AFTER + LATE + SOON, "a report", || reports(&host) == 1)?;
    println!("reported after {took:?}");
    ensure!(took >= AFTER, "reported before its time: {took:?}");
    eventually(SOON, "a line in the log", || (says("has not answered for") == 1).then_some(()))?;
    // Another whole round changes nothing.
    let again = Instant::now();
    poll_until(&client, SOON, "time to report again", || again.elapsed() > AFTER + LATE)?;
    ensure!(reports(&host) == 1 && says("has not answered for") == 1, "reported again");
    ensure!(sandbox.sentry.is_alive(), "the sandbox was ended");
    sandbox.sentry.signal(Signal::CONT)?;
    poll_until(&client, SOON, "it is heard", || says("the sandbox answers again") == 1)?;
    poll(&client)?;
    host.ctr().remove("subject")?;
    assert_nothing_left(&host, &Resources::default(), SOON)
}

#[test]
fn a_silent_sandbox_is_ended_where_that_is_configured() -> Result<()> {
    let (host, sandbox, client) = subject("\"kill\"")?;
    sandbox.stop_sentry()?;
    let took = poll_until(&client, AFTER + LATE + SOON, "the end", || !sandbox.sentry.is_alive())?;
    println!("ended after {took:?}");
    ensure!(took >= AFTER, "ended before its time: {took:?}");
    eventually(SOON, "containerd sees the exit", || {
        let tasks = host.ctr().tasks(SOON).ok()?;
        tasks.iter().any(|task| task.status == "STOPPED").then_some(())
    })?;
    host.ctr().delete_task("subject", SOON)?.ok()?;
    host.ctr().delete_container("subject")?;
    assert_nothing_left(&host, &Resources::default(), SOON)
}

/// Both would look dead to somebody who only counted unanswered requests.
#[test]
fn neither_a_paused_sandbox_nor_one_behind_a_stopped_shim_is_silent() -> Result<()> {
    let (host, sandbox, client) = subject("\"kill\"")?;
    let spared = |what: &str| -> Result<()> {
        let began = Instant::now();
        poll_until(&client, SOON, "time for the watchdog", || began.elapsed() > AFTER + 2 * LATE)?;
        for process in [&sandbox.sentry, &sandbox.real_shim] {
            process.assert_spared()?;
        }
        ensure!(reports(&host) == 0, "{what} was reported");
        Ok(())
    };
    faults::stop(&sandbox.real_shim)?;
    spared("a sandbox behind a stopped real shim")?;
    sandbox.real_shim.signal(Signal::CONT)?;
    faults::pause(&host, &host.ctr(), "subject")?;
    spared("a paused sandbox")?;
    // Not even its real shim can end a paused one: that is the deadline's business.
    eventually(SOON, "the end", || {
        host.ctr().force_delete_task("subject", SOON).ok()?.success().then_some(())
    })?;
    host.ctr().delete_container("subject")?;
    assert_nothing_left(&host, &Resources::default(), SOON)
}
