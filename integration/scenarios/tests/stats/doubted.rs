//! A sentry whose answer cannot be believed: of another shape, too late each time, another container's, or a stranger's.
//! The guard goes back to gVisor's shim, and says so once, in the log and as a metric. One that says nothing, to nobody,
//! proves nothing of the way by which it was asked.

use super::{BUSY, REFUTED};
use anyhow::{Context as _, Result, bail, ensure};
use harness::{
    Handler, Host, LATER, SHORTLY, SOON, TaskClient, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    run,
    usage::{await_direct, stats},
};
use rustix::process::Signal;
use std::{
    io,
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Command,
    thread,
};

const HANDLER: &str = "guarded";

/// A stand-alone container `subject` at work, and who asks for its Stats.
fn subject(host: &Host) -> Result<TaskClient> {
    host.ctr().start(&host.handler(HANDLER)?, "subject", &BUSY)?;
    TaskClient::connect(host, host.ctr().namespace(), "subject")
}

/// How many sandboxes have gone back, by the operator's metrics.
fn counted(host: &Host) -> Result<u32> {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    command.args(["--namespace", host.tag(), "metrics"]);
    command.arg("--report-dir").arg(host.path().join("reports"));
    let text = run(&mut command, b"", LATER)?.ok()?;
    let line = text.lines().find(|line| line.starts_with("runsc_guard_stats_refuted_total{"));
    let (_, count) = line.and_then(|line| line.rsplit_once(' ')).with_context(|| text.clone())?;
    Ok(count.parse()?)
}

/// Asks until the guard has gone back; then it has said so once, and Stats are answered, by nobody but the shim.
fn goes_back(host: &Host, client: &TaskClient) -> Result<()> {
    eventually(LATER, "it is said", || {
        let _ = stats(client, "subject");
        host.log().contains(REFUTED).then_some(())
    })?;
    for _ in 0..5 {
        eventually(SHORTLY, "Stats", || stats(client, "subject").ok())?;
    }
    let sandbox = Sandbox::of(host, "subject")?;
    faults::stop(&sandbox.real_shim)?;
    let told = stats(client, "subject");
    sandbox.real_shim.signal(Signal::CONT)?;
    ensure!(told.is_err(), "it was answered without gVisor's shim");
    let lines: Vec<_> = host.log().lines().filter(|line| line.contains(REFUTED)).map(str::to_owned).collect();
    let [line] = &lines[..] else { bail!("it is said {} times", lines.len()) };
    println!("{line}");
    ensure!(counted(host)? == 1, "the metric does not tell");
    Ok(())
}

fn end(host: &Host) -> Result<()> {
    host.ctr().remove("subject")?;
    assert_nothing_left(host, &Resources::default(), SOON)
}

/// The sentry's program calls a field otherwise, as a later gVisor might.
#[test]
fn an_answer_of_another_shape_is_not_taken() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    let runsc = faults::renamed_field(&host, "runsc-renamed", "failcnt", "failing")?;
    host.add_handler(&Handler::guarded(HANDLER).runsc(runsc))?;
    let client = subject(&host)?;
    goes_back(&host, &client)?;
    end(&host)
}

/// Of two containers at once the shim tells one's numbers for the other's.
#[test]
fn another_containers_numbers_are_not_taken() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    host.ctr().start(&host.handler(HANDLER)?, "other", &["sleep", "100000"])?;
    let runsc = faults::mistaken_events(&host, "runsc-mistaken", "subject", "other")?;
    host.add_handler(&Handler::guarded(HANDLER).runsc(runsc))?;
    let client = subject(&host)?;
    goes_back(&host, &client)?;
    host.ctr().remove("other")?;
    end(&host)
}

/// Whenever it is asked it is stopped until the shim is asked as well, whose command then has an answer: three times in a
/// row are enough, and on a busy machine the shim is late itself now and then, which counts for nothing.
#[test]
fn a_sentry_that_is_late_each_time_is_asked_no_more() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER).guard("stats_deadline", "\"1800ms\"")])?;
    let client = subject(&host)?;
    await_direct(&host, host.ctr().namespace(), "subject", "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let mut late = 0;
    while !host.log().contains(REFUTED) && late < 30 {
        late += 1;
        answer_late(&host, &sandbox, &client)?;
    }
    ensure!(late >= 3, "it is asked no more although it was late {late} times");
    goes_back(&host, &client)?;
    end(&host)
}

fn answer_late(host: &Host, sandbox: &Sandbox, client: &TaskClient) -> Result<()> {
    let command = || host.processes().into_iter().find(|one| one.args.iter().any(|arg| arg == "events"));
    eventually(SOON, "the command before ends", || command().is_none().then_some(()))?;
    sandbox.stop_sentry()?;
    thread::scope(|threads| {
        threads.spawn(|| stats(client, "subject"));
        let asked = eventually(SOON, "the shim is asked", command);
        sandbox.sentry.signal(Signal::CONT)?;
        asked.map(drop)
    })
}

/// Nobody gets an answer from it, and so not the shim either: when it answers again it is asked again.
#[test]
fn a_sentry_that_says_nothing_is_asked_again() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    let client = subject(&host)?;
    await_direct(&host, host.ctr().namespace(), "subject", "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    sandbox.stop_sentry()?;
    for _ in 0..5 {
        ensure!(stats(&client, "subject").is_err(), "a stopped sentry has told something");
    }
    sandbox.sentry.signal(Signal::CONT)?;
    eventually(SHORTLY, "Stats", || stats(&client, "subject").ok())?;
    await_direct(&host, host.ctr().namespace(), "subject", "subject")?;
    ensure!(!host.log().contains(REFUTED) && counted(&host)? == 0, "it is asked no more");
    end(&host)
}

/// Who listens on the sentry's socket is not the sentry, although it passes on what runsc asks.
#[test]
fn a_stranger_on_the_sentrys_socket_is_not_asked() -> Result<()> {
    let host = Host::with([Handler::guarded(HANDLER)])?;
    let client = subject(&host)?;
    await_direct(&host, host.ctr().namespace(), "subject", "subject")?;
    let socket = host.runsc_root(host.ctr().namespace()).join("runsc-subject.sock");
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside)?;
    let stranger = UnixListener::bind(&socket)?;
    let behind = aside.clone();
    thread::spawn(move || relay(&stranger, &behind));
    goes_back(&host, &client)?;
    std::fs::rename(&aside, &socket)?;
    end(&host)
}

/// Passes everything on, until the process ends.
fn relay(from: &UnixListener, to: &Path) -> io::Result<()> {
    for asked in from.incoming() {
        let (mut asked, mut answers) = (asked?, UnixStream::connect(to)?);
        let (mut back, mut there) = (asked.try_clone()?, answers.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let _ = io::copy(&mut asked, &mut there);
            let _ = there.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
