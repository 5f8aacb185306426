//! Who cannot see the node's processes does not take a guard that it cannot see for dead, nor its node for empty. Apart from
//! other tests of `reap`: one of these has copies of all mounts for a while.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, Outcome, SOON,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    run,
};
use std::process::Command;

const ID: &str = "subject";

/// What each of these cannot see, and what the commands say then: that it cannot be seen at all, or whose guard cannot be.
const BLIND: [(&str, &str); 4] = [
    ("setpriv --bounding-set=-sys_ptrace --inh-caps=-all", "CAP_SYS_PTRACE"),
    ("unshare --user --map-root-user", "user namespace"),
    ("unshare --pid --fork", "pid namespace"),
    ("unshare --mount --pid --fork --mount-proc", "listens at"),
];

/// Who cannot see a guard does not take it for dead, nor its node for empty.
#[test]
fn who_cannot_see_a_guard_ends_nothing() -> Result<()> {
    for handler in [Handler::guarded("h"), Handler::unguarded("h")] {
        let host = Host::with([handler])?;
        let before = Resources::of(&host);
        host.ctr().start(&host.handler("h")?, ID, &["sleep", "100000"])?;
        let sandbox = Sandbox::of(&host, ID)?;
        let (socket, reports) = (host.socket().display().to_string(), host.path().join("reports"));
        let reports = reports.display().to_string();
        let reap_one = ["reap", ID, "--yes", "--report-dir", &reports];
        let reap_all = |kind| ["reap", kind, "--yes", "--report-dir", &reports];
        for (blind, why) in BLIND {
            let operator = |args: &[&str]| -> Result<Outcome> {
                let mut words = blind.split(' ').chain(["--"]);
                let mut command = Command::new(words.next().context("no program")?);
                command.args(words).arg(host.parts().guard.with_file_name("runsc-guard"));
                command.arg("--runsc-root").arg(host.runsc_root(host.tag()));
                let outcome = run(command.args(["--namespace", host.tag()]).args(args), b"", 2 * SOON)?;
                println!("{blind} {args:?}: {:?}\n{}{}", outcome.code(), outcome.stdout, outcome.stderr);
                let said = format!("{}{}", outcome.stdout, outcome.stderr);
                ensure!(args[0] == "metrics" || said.contains(why), "{blind} {args:?}: nothing of {why}");
                Ok(outcome)
            };
            for args in [reap_all("--orphaned"), reap_all("--wedged"), reap_one] {
                ensure!(!operator(&args)?.success(), "{blind}: {args:?} is content");
                ensure!(sandbox.sentry.is_alive() && sandbox.real_shim.is_alive(), "{blind}: {args:?}");
            }
            ensure!(operator(&["check", "--address", &socket])?.code() == Some(2), "{blind}: it could tell");
            operator(&["ls", "--output", "wide"])?;
            operator(&["doctor", "--address", &socket])?;
            let metrics = operator(&["metrics"])?;
            let number = format!("runsc_guard_sandboxes{{namespace=\"{}\",state=\"unknown\"}} 1", host.tag());
            ensure!(!metrics.success() || metrics.stdout.contains(&number), "{blind}: {}", metrics.stdout);
        }
        ensure!(
            host.ctr().exec(ID, "probe", &["true"], b"", SOON).is_ok_and(|done| done.success()),
            "it is not well"
        );
        host.ctr().remove(ID)?;
        assert_nothing_left(&host, &before, SOON)?;
    }
    Ok(())
}
