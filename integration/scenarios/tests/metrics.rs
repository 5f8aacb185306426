//! `runsc-guard metrics` on real sandboxes: a healthy life, a wedge that its guard ends, a guard that is stopped; all
//! of it counted by a server that has listened all along, and nothing of it lost when the guards are gone.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_gone, assert_nothing_left},
    process::Process,
    run,
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What a scrape promises, whatever is stopped.
const PROMISE: Duration = Duration::from_secs(2);

fn operator(host: &Host, args: &[&str]) -> Result<Command> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    ensure!(program.is_file(), "no runsc-guard beside the guard, at {}", program.display());
    let mut command = Command::new(program);
    command.args(["--namespace", host.tag(), "metrics"]).args(args);
    command.arg("--report-dir").arg(host.path().join("reports"));
    Ok(command)
}

/// `runsc-guard metrics --listen`, ended with the test.
struct Server {
    child: Child,
    socket: PathBuf,
    tag: String,
}

impl Server {
    fn start(host: &Host) -> Result<Self> {
        let socket = host.path().join("metrics.sock");
        let mut command = operator(host, &["--listen", &format!("unix:{}", socket.display())])?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self { child, socket, tag: host.tag().to_owned() };
        eventually(SOON, "the server listens", || UnixStream::connect(&server.socket).ok())?;
        Ok(server)
    }

    /// One scrape, as Prometheus does it.
    fn scrape(&self) -> Result<Scraped> {
        let begun = Instant::now();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(
            b"GET /metrics HTTP/1.1\r\nHost: node\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took = begun.elapsed();
        println!("scraped {} bytes in {took:?}", answer.len());
        ensure!(took < PROMISE, "a scrape took {took:?}");
        ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("# EOF\n"), "{answer}");
        let (_, text) = answer.split_once("\r\n\r\n").context("no body")?;
        Scraped::parse(text, &self.tag)
    }

    fn end(mut self) -> Result<ExitStatus> {
        Process::read(self.child.id().cast_signed()).context("it has ended")?.signal(Signal::TERM)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Our own child; that it has ended, and was waited for, is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Values by series, without prefix and namespace: `requests_total{method="Create",outcome="ok"}`.
#[derive(Debug)]
struct Scraped(BTreeMap<String, f64>);

impl Scraped {
    fn parse(text: &str, namespace: &str) -> Result<Self> {
        let namespace = format!("namespace={namespace:?}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            ensure!(series.contains(&namespace), "of another namespace: {line}");
            let series = series.replace(&namespace, "").replace("{,", "{").replace(",,", ",");
            Ok((series.replace("runsc_guard_", ""), value.parse()?))
        };
        Ok(Self(samples.map(sample).collect::<Result<_>>()?))
    }

    fn expect(&self, expected: &[(&str, f64)]) -> Result<()> {
        for (series, value) in expected {
            let have = self.0.get(*series);
            ensure!(have == Some(value), "{series} is {have:?}, not {value}, in {:#?}", self.0);
        }
        Ok(())
    }

    /// Every counter is at least what it was.
    fn has_gone_up_since(&self, before: &Self) -> Result<()> {
        for (series, was) in &before.0 {
            let counter =
                ["_total{", "_count{", "_bucket{", "_sum{"].iter().any(|kind| series.contains(kind));
            let is = self.0.get(series);
            ensure!(!counter || is >= Some(was), "{series} was {was} and is {is:?}");
        }
        Ok(())
    }
}

fn start(host: &Host, id: &str) -> Result<Sandbox> {
    host.ctr().start(&host.handler("h")?, id, &["sleep", "100000"])?;
    Sandbox::of(host, id)
}

/// A SIGKILL that nothing answers: the guard ends the sandbox by its deadline, and containerd hears of it.
fn wedge(host: &Host) -> Result<Sandbox> {
    let sandbox = start(host, "wedged")?;
    sandbox.stop_sentry()?;
    // What becomes of the call is containerd's affair: it asks for the state first.
    host.ctr().kill("wedged", "KILL", SOON)?;
    sandbox.sentry.wait_gone(SOON)?;
    eventually(SOON, "containerd sees it stopped", || {
        let tasks = host.ctr().tasks(SOON).ok()?;
        tasks.iter().any(|task| task.id == "wedged" && task.status == "STOPPED").then_some(())
    })?;
    Ok(sandbox)
}

/// The wedge and what was done about it, once each.
fn expect_wedge(scraped: &Scraped) -> Result<()> {
    scraped.expect(&[
        ("wedges_total{cause=\"kill_unacknowledged\"}", 1.0),
        ("wedges_total{cause=\"kill_without_exit\"}", 0.0),
        ("steps_total{step=\"diagnose\"}", 1.0),
        ("steps_total{step=\"kill_sandbox\"}", 1.0),
        ("steps_total{step=\"kill_all\"}", 1.0),
        ("steps_total{step=\"release\"}", 1.0),
        ("steps_total{step=\"unblock\"}", 0.0),
        ("time_to_gone_seconds_count{}", 1.0),
        ("leftover_total{}", 0.0),
        ("reports_total{}", 1.0),
        ("events_dropped_total{}", 0.0),
    ])
}

/// A guard that is stopped holds up nobody and takes nothing of what it had counted.
fn with_a_stopped_guard(server: &Server, beside: &Sandbox, before: &Scraped) -> Result<Scraped> {
    let guard = beside.guard.as_ref().context("no guard")?;
    faults::stop(guard)?;
    let stopped = server.scrape();
    guard.signal(Signal::CONT)?;
    let stopped = stopped?;
    stopped.expect(&[("guards{answers=\"no\"}", 1.0), ("sandboxes{state=\"wedged\"}", 1.0)])?;
    stopped.has_gone_up_since(before)?;
    Ok(stopped)
}

/// Where `hack/monitoring/check` names a promtool, it reads what is printed, too.
fn lint(host: &Host) -> Result<()> {
    let printed = run(&mut operator(host, &["--output", "prometheus"])?, b"", SOON)?.ok()?;
    ensure!(printed.contains("runsc_guard_wedges_total{"), "{printed}");
    if let Some(promtool) = std::env::var_os("RUNSC_GUARD_PROMTOOL") {
        run(Command::new(promtool).args(["check", "metrics"]), printed.as_bytes(), SOON)?.ok()?;
        println!("promtool has nothing to say against {} lines", printed.lines().count());
    }
    Ok(())
}

#[test]
fn what_guards_count_is_served_and_outlives_them() -> Result<()> {
    let handler = Handler::quick("h", "2s");
    let host = Host::with([handler])?;
    let before = Resources::of(&host);
    let server = Server::start(&host)?;
    server.scrape()?.expect(&[])?;

    let healthy = start(&host, "healthy")?;
    let first = server.scrape()?;
    println!("guards weigh {:?} bytes", first.0.get("memory_bytes{process=\"guard\"}"));
    first.expect(&[
        ("sandboxes{state=\"running\"}", 1.0),
        ("sandboxes{state=\"wedged\"}", 0.0),
        ("guards{answers=\"yes\"}", 1.0),
        ("guards{answers=\"no\"}", 0.0),
        ("requests_total{method=\"Create\",outcome=\"ok\"}", 1.0),
        ("requests_total{method=\"Start\",outcome=\"ok\"}", 1.0),
        ("request_duration_seconds_count{method=\"Create\"}", 1.0),
        ("wedges_total{cause=\"kill_unacknowledged\"}", 0.0),
        ("events_queued{}", 0.0),
    ])?;
    let resident = first.0["memory_bytes{process=\"guard\"}"];
    let told = healthy.guard.as_ref().and_then(|guard| guard.status_number("VmRSS")).context("no guard")?;
    ensure!((resident - told as f64 * 1024.0).abs() < 512.0 * 1024.0, "{resident}, not {told} kB");

    wedge(&host)?;
    let ended = eventually(SOON, "the escalation is at its end", || {
        let scraped = server.scrape().ok()?;
        (scraped.0.get("time_to_gone_seconds_count{}") == Some(&1.0)).then_some(scraped)
    })?;
    ended.expect(&[("sandboxes{state=\"running\"}", 1.0), ("guards{answers=\"yes\"}", 2.0)])?;
    ended.expect(&[("left_behind{}", 0.0)])?;
    expect_wedge(&ended)?;
    ended.has_gone_up_since(&first)?;
    let took = ended.0["time_to_gone_seconds_sum{}"];
    ensure!(took > 0.0 && took < 4.0, "gone after {took} s");

    lint(&host)?;
    host.ctr().delete_task("wedged", SOON)?.ok()?;
    host.ctr().delete_container("wedged")?;
    assert_gone(&host, "wedged", SOON)?;
    let stopped = with_a_stopped_guard(&server, &healthy, &ended)?;
    expect_wedge(&stopped)?;

    // All that is asked of a guard after the last scrape comes with its final_metrics.
    host.ctr().remove("healthy")?;
    assert_gone(&host, "healthy", SOON)?;
    let last = eventually(SOON, "both guards are gone", || {
        let scraped = server.scrape().ok()?;
        let shutdowns = |outcome: &str| {
            let series = format!("requests_total{{method=\"Shutdown\",outcome={outcome:?}}}");
            scraped.0.get(&series).copied().unwrap_or_default()
        };
        (shutdowns("ok") + shutdowns("guard") == 2.0).then_some(scraped)
    })?;
    last.has_gone_up_since(&stopped)?;
    expect_wedge(&last)?;
    last.expect(&[("requests_total{method=\"Create\",outcome=\"ok\"}", 2.0)])?;
    ensure!(!last.0.contains_key("guards{answers=\"yes\"}"), "nobody is left: {last:#?}");

    // Printed once, it tells of those that live: nobody.
    let printed = run(&mut operator(&host, &[])?, b"", SOON)?.ok()?;
    ensure!(!printed.contains("runsc_guard_requests_total"), "{printed}");
    let socket = server.socket.clone();
    let status = server.end()?;
    ensure!(status.success() && !socket.exists(), "SIGTERM: {status}");
    assert_nothing_left(&host, &before, SOON)
}
