//! A SIGKILL that nobody is to be spared for goes to the sentry itself: gVisor's shim runs no command for it. With a sibling
//! to spare, or where the sentry does not take it, it is the shim's as ever.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, LATER, SOON,
    faults::renamed_field,
    leaks::{Resources, assert_nothing_left},
};
use std::path::{Path, PathBuf};

const SLEEPS: [&str; 2] = ["sleep", "100000"];

/// What runsc was asked, by a wrapper that notes it and becomes runsc.
struct Notes(PathBuf);

impl Notes {
    /// Has `handler` run `runsc` so.
    fn of(host: &Host, handler: Handler, runsc: &Path) -> Result<Self> {
        let notes = host.path().join("commands");
        let wrapper = host.path().join("noting-runsc");
        let script =
            format!("#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n", notes.display(), runsc.display());
        harness::write_script(&wrapper, &script)?;
        host.add_handler(&handler.runsc(&wrapper))?;
        Ok(Self(notes))
    }

    /// How many `state` and how many `kill` there were since this was asked last. (With --all they are what gVisor's shim does
    /// at an exit by itself.)
    fn counted(&self) -> Result<[usize; 2]> {
        let text = std::fs::read_to_string(&self.0)?;
        std::fs::write(&self.0, "")?;
        let count = |command: &str| {
            let is_it = |line: &&str| line.split(' ').any(|word| word == command) && !line.contains("-all");
            text.lines().filter(is_it).count()
        };
        Ok(["state", "kill"].map(count))
    }

    fn kills(&self) -> Result<usize> {
        self.counted().map(|[_, kills]| kills)
    }
}

/// Runs a pod of one and ends it: the commands for its two SIGKILLs.
fn pod_of_one(host: &Host, handler: &str, notes: &Notes) -> Result<[usize; 2]> {
    let cri = host.cri()?;
    let before = Resources::of(host);
    let pod = cri.run_pod(handler, handler)?;
    cri.run_container(&pod, "only", &SLEEPS)?;
    notes.counted()?;
    cri.end_pod(&pod)?;
    let counted = notes.counted()?;
    assert_nothing_left(host, &before, LATER)?;
    println!("{handler}: states and kills: {counted:?}");
    Ok(counted)
}

#[test]
fn a_pods_end_takes_no_command() -> Result<()> {
    let host = Host::pair(Handler::guarded("guarded"))?;
    let runsc = host.parts().runsc.clone();
    let notes = Notes::of(&host, Handler::unguarded("unguarded"), &runsc)?;
    ensure!(pod_of_one(&host, "unguarded", &notes)?[1] >= 2, "gVisor's own shim takes none");
    let notes = Notes::of(&host, Handler::guarded("guarded"), &runsc)?;
    ensure!(pod_of_one(&host, "guarded", &notes)?[1] == 0, "it went through the shim");
    Ok(())
}

#[test]
fn of_a_container_with_a_living_sibling_the_shim_is_asked() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    let notes = Notes::of(&host, Handler::guarded("guarded"), &host.parts().runsc.clone())?;
    let cri = host.cri()?;
    let pod = cri.run_pod("guarded", "subject")?;
    let [ends, stays] = ["ends", "stays"].map(|name| cri.run_container(&pod, name, &SLEEPS));
    let (ends, stays) = (ends?, stays?);
    notes.kills()?;
    cri.stop_container(&ends, 0, LATER)?;
    ensure!(notes.kills()? > 0, "it did not go through the shim");
    let shown = cri.containers(SOON)?;
    ensure!(shown.contains(&(stays.id, 1)), "its sibling does not run any more: {shown:?}");
    // Now it is the last one.
    cri.end_pod(&pod)?;
    ensure!(notes.kills()? == 0, "it went through the shim");
    Ok(())
}

#[test]
fn what_the_sentry_does_not_take_is_the_shims() -> Result<()> {
    let host = Host::with([Handler::guarded("guarded")])?;
    // It kills, and says so in words that only its own runsc understands.
    let other = renamed_field(&host, "other-runsc", "success", "suczess").context("another runsc")?;
    let notes = Notes::of(&host, Handler::guarded("guarded"), &other)?;
    // The shim looks first, and finds that it has ended.
    ensure!(pod_of_one(&host, "guarded", &notes)?[0] >= 2, "the shim was not asked");
    Ok(())
}
