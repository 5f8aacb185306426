//! `check`: one line and a status, in time whatever hangs. A problem is what does not end by itself: under a living guard
//! a sandbox that hangs is none.

use anyhow::{Result, ensure};
use harness::{Handler, Host, Outcome, SOON, eventually, faults, faults::Sandbox, run};
use std::{process::Command, time::Duration};

/// `--timeout`, and what a busy machine takes to start and end a process.
const PROMISE: Duration = Duration::from_secs(4 + 2);

fn operator(host: &Host, args: &[&str]) -> Result<Outcome> {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    // Others' sandboxes may be on this machine.
    run(command.args(["--namespace", host.tag()]).args(args), b"", 3 * SOON)
}

/// Its status, and with `--nagios`; what the line begins with.
fn expect(host: &Host, statuses: [i32; 2], begins: &str) -> Result<()> {
    for (status, kind) in statuses.into_iter().zip([None, Some("--nagios")]) {
        let socket = host.socket();
        let mut args = vec!["check", "--address", socket.to_str().unwrap_or_default()];
        args.extend(kind);
        let outcome = operator(host, &args)?;
        println!("{kind:?} {:?} after {:?}: {}", outcome.code(), outcome.took, outcome.stdout.trim());
        ensure!(outcome.code() == Some(status) && outcome.stdout.starts_with(begins), "{outcome:?}");
        ensure!(outcome.stdout.lines().count() == 1 && outcome.took < PROMISE, "{outcome:?}");
    }
    Ok(())
}

#[test]
fn only_what_does_not_end_by_itself_is_a_problem() -> Result<()> {
    let host = Host::pair(Handler::guarded("guarded"))?;
    let start = |handler: &str, id: &str| {
        host.ctr().start(&host.handler(handler)?, id, &["sleep", "100000"])?;
        Sandbox::of(&host, id)
    };
    let (kept, alone) = (start("guarded", "kept")?, start("unguarded", "alone")?);
    expect(&host, [0, 0], "no sandbox of 2 is stuck, and the guard is there")?;
    kept.stop_sentry()?;
    expect(&host, [0, 0], "no sandbox of 2 is stuck")?;
    alone.stop_sentry()?;
    expect(&host, [1, 2], &format!("1 stuck: {} alone (sentry {} stopped", host.tag(), alone.sentry.pid))?;
    // A guard that cannot hear ends nothing.
    faults::stop(&kept.guard.clone().ok_or_else(|| anyhow::anyhow!("no guard"))?)?;
    expect(&host, [1, 2], "2 stuck: ")?;
    let reports = host.path().join("reports");
    let reap = ["reap", "--wedged", "--yes", "--report-dir", reports.to_str().unwrap_or_default()];
    ensure!(operator(&host, &reap)?.success(), "not everything is gone");
    eventually(SOON, "nothing is stuck any more", || expect(&host, [0, 0], "no sandbox of ").ok())?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    expect(&host, [2, 3], "containerd does not answer")?;
    containerd.signal(rustix::process::Signal::CONT)
}

#[test]
fn a_node_without_the_guard_says_so() -> Result<()> {
    let host = Host::with([Handler::unguarded("h")])?;
    expect(&host, [1, 1], "guard missing: no handler of containerd's has the guard")
}
