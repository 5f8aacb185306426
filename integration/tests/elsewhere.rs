//! runsc works elsewhere than `root` at the top of its configuration says: `[runsc_config]` has a `root` of its own,
//! which gVisor lets win.

use anyhow::{Context as _, Result, ensure};
use integration::{
    Handler, Host, eventually,
    faults::{self, Sandbox},
    leaks::{Holdings, assert_nothing_left},
};
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(40);
/// More than `kill_deadline`, and than three questions that nobody answers in the wrong place.
const WATCHED: Duration = Duration::from_secs(8);

/// What runsc has there but for what all sandboxes share.
fn files(root: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(root)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name != "null-netns").collect())
}

#[test]
fn the_guard_looks_where_runsc_works() -> Result<()> {
    let handler = Handler::guarded("guarded").guard("kill_deadline", "\"4s\"").guard("hard_limit", "\"0s\"");
    let host = Host::builder().handler(handler.clone()).start()?;
    let root = host.path().join("elsewhere");
    host.add_handler(&handler.runsc_flag("root", root.to_str().context("a path that is no text")?))?;
    let (cri, before) = (host.cri()?, Holdings::of(&host));
    let pod = cri.run_pod("guarded", "elsewhere")?;
    let sibling = cri.run_container(&pod, "sibling", &["sleep", "100000"])?;
    let member = cri.run_container(&pod, "member", &["sh", "-c", "while :; do :; done"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    ensure!(!files(&root)?.is_empty(), "runsc does not work in {}", root.display());

    // The sentry answers, but its guests' processes do not run, and so do not die.
    let stubs = sandbox.stubs();
    stubs.iter().try_for_each(faults::stop)?;
    host.ctr().in_namespace("k8s.io").kill(&member.id, "SIGKILL", SOON)?;
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        ensure!(sandbox.sentry.is_alive(), "the sandbox was ended after {:?}", began.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    stubs.iter().filter(|stub| stub.is_alive()).try_for_each(|stub| stub.signal(Signal::CONT))?;
    eventually(SOON, "the sibling takes an exec", || {
        cri.exec(&sibling, &["true"], SOON).is_ok_and(|done| done.exit_code == 0).then_some(())
    })?;

    // And a forced end leaves nothing there.
    sandbox.stop_sentry()?;
    cri.end_pod(&pod)?;
    assert_nothing_left(&host, &before, SOON)?;
    let left = files(&root)?;
    ensure!(left.is_empty(), "left in {}: {left:?}", root.display());
    ensure!(!host.log().contains("cannot be asked"), "the sentry was asked in the wrong place");
    Ok(())
}
