//! Docker: a guarded container runs, is entered and stopped as any other, and one whose sentry has stopped ends by its
//! deadline, where `docker rm -f` of an unguarded one never returns.

use anyhow::{Context as _, Result, ensure};
use harness::{
    AT_LAST, Docker, Handler, Host, Outcome,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
};
use std::time::Duration;

/// `kill_deadline`, below the 10 s after which Docker itself kills the pid that it knows.
const DEADLINE: Duration = Duration::from_secs(2);
/// `signal_deadline`: the stop signal counts as pending after that.
const SIGNAL: Duration = Duration::from_secs(2);
/// What the escalation may take after the deadline, and then Docker to notice.
const ESCALATION: Duration = Duration::from_secs(3);

fn start(docker: &Docker, host: &Host, runtime: &str) -> Result<Sandbox> {
    let name = ["--name", runtime, "--detach"];
    let id = docker.run(runtime, &name, &["sleep", "100000"], AT_LAST)?.ok()?;
    Sandbox::of(host, id.trim())
}

/// Its output and its end. Not its status: of a container that ends before gVisor's shim asks for it, that is 128.
fn echoes(docker: &Docker, runtime: &str) -> Result<()> {
    let outcome = docker.run(runtime, &["--rm"], &["echo", "well"], AT_LAST)?;
    ensure!(!outcome.timed_out() && outcome.stdout == "well\n", "{outcome:?}");
    Ok(())
}

fn in_time(outcome: Outcome, limit: Duration) -> Result<()> {
    println!("{}: {:?}", outcome.command, outcome.took);
    ensure!(outcome.took <= limit, "late: {outcome:?}");
    outcome.ok().map(drop)
}

#[test]
fn docker_rm_of_a_stopped_sentry() -> Result<()> {
    let guarded = Handler::quick("guarded", "2s");
    let unguarded = Handler::unguarded("unguarded");
    let host = Host::builder().handler(guarded.clone()).handler(unguarded.clone()).start()?;
    let docker = Docker::start(&host, &[&guarded, &unguarded])?;
    let before = Resources::of(&host);

    // As any other.
    echoes(&docker, "guarded")?;
    start(&docker, &host, "guarded")?;
    let links = docker.call(&["exec", "guarded", "cat", "/proc/net/dev"], AT_LAST)?.ok()?;
    ensure!(links.contains("eth0:"), "{links:?}");
    docker.call(&["stop", "--time", "1", "guarded"], AT_LAST)?.ok()?;
    let status = docker.call(&["inspect", "--format", "{{.State.ExitCode}}", "guarded"], AT_LAST)?.ok()?;
    ensure!(status == "143\n", "{status:?}");
    docker.call(&["rm", "guarded"], AT_LAST)?.ok()?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;

    // The runtime's own name, without an entry in daemon.json.
    echoes(&docker, guarded.runtime_type())?;

    start(&docker, &host, "guarded")?.stop_sentry()?;
    in_time(docker.call(&["rm", "--force", "guarded"], AT_LAST)?, DEADLINE + ESCALATION)?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;

    start(&docker, &host, "guarded").context("the name is not usable again")?.stop_sentry()?;
    in_time(docker.call(&["stop", "--time", "1", "guarded"], AT_LAST)?, SIGNAL + DEADLINE + ESCALATION)?;
    docker.call(&["rm", "guarded"], AT_LAST)?.ok()?;
    assert_nothing_left(&host, &before, Duration::from_secs(5))?;

    let sandbox = start(&docker, &host, "unguarded")?;
    sandbox.stop_sentry()?;
    let outcome = docker.call(&["rm", "--force", "unguarded"], 2 * (DEADLINE + ESCALATION))?;
    ensure!(outcome.timed_out() && sandbox.sentry.is_alive(), "it does not wedge: {outcome:?}");
    Ok(())
}
