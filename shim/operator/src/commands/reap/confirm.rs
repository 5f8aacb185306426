//! The second look: what is ended unnamed must be as bad a second later, and its sentry, asked on its own control socket,
//! must not answer. A healthy sandbox that happened to look bad is so left alone. One that nobody keeps any more is ended
//! whether it answers or not; that it does is said.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use runsc_guard_sandbox::diagnostics::control::Unanswered;
use runsc_guard_sandbox::diagnostics::pulse::Pulse;

use crate::args::Scope;
use crate::paint;
use crate::screen;
use crate::survey::judge;
use crate::survey::model::{Found, Sandbox, State};
use crate::survey::survey;
use crate::threads::each;

/// Between the looks.
const PAUSE: Duration = Duration::from_secs(1);
/// As often as the guard itself asks before a sentry counts as silent, and for as long.
const PROBES: u32 = runsc_guard_core::policy::QUESTIONS;
const PROBE: Duration = runsc_guard_core::policy::QUESTION;

/// Those of them that are still as bad.
pub(crate) fn confirm(scope: &Scope, first: Vec<Sandbox>) -> Result<Vec<Sandbox>> {
    if first.is_empty() {
        screen::say(&paint::faint("nothing of that kind on this node"));
        return Ok(first);
    }
    thread::sleep(PAUSE);
    let second = survey(scope)?.sandboxes;
    let still: Vec<Sandbox> = first.iter().filter_map(|one| again(one, &second)).collect();
    let verdicts = each(&still, still.len(), is_silent);
    let silent: Vec<Sandbox> =
        still.into_iter().zip(verdicts).filter_map(|(one, silent)| silent.then_some(one)).collect();
    for one in &first {
        if !silent.iter().any(|other| other.found.id == one.found.id) {
            let why = paint::faint("left alone, it has recovered or answers");
            screen::say(&format!("{}: {why}", one.found.id));
        }
    }
    Ok(silent)
}

/// The same sandbox in the second look, if it is the same and as bad.
fn again(one: &Sandbox, second: &[Sandbox]) -> Option<Sandbox> {
    let sentry = |found: &Found| found.sentry.as_ref().map(|task| task.identity);
    let same = |other: &&Sandbox| {
        (&other.found.runsc_root, &other.found.id, sentry(&other.found), other.state)
            == (&one.found.runsc_root, &one.found.id, sentry(&one.found), one.state)
    };
    second.iter().find(same).cloned()
}

/// Whether it may be ended: it does not answer, or nobody keeps it.
fn is_silent(one: &Sandbox) -> bool {
    let found = &one.found;
    // What has no sentry has nobody to answer.
    let Some(control) = found.control() else { return true };
    let asked = || control.answers(Instant::now() + PROBE);
    // Nobody will ever ask for the end of what containerd has forgotten, however well it is.
    if found.forgotten || one.state == State::Orphaned {
        if asked().is_ok() {
            let what = paint::caution("it answers, but it has no shim any more");
            screen::say(&format!("{}: {what}", found.id));
        }
        return true;
    }
    // What keeps it cannot run: whether the sentry answers does not help.
    if judge::is_keeper_held(found) {
        return true;
    }
    // One that could not be asked, or another process at its socket, says nothing of the sentry; nor does a socket that
    // nobody listens on any more, or not yet: so it is while a sentry ends or starts, unless it cannot run at all.
    let is_silent = |unanswered: &Unanswered| match unanswered {
        Unanswered::Silent => true,
        Unanswered::Gone => Pulse::of(control.sentry).is_some_and(|pulse| pulse.is_held()),
        _ => false,
    };
    (0..PROBES).all(|_| asked().is_err_and(|unanswered| is_silent(&unanswered)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::reap::progress::until;
    use crate::survey::model::tests::sandbox;
    use nix::sys::signal::Signal;
    use runsc_guard_sandbox::sys::identity::Identity;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_what_is_the_same_and_as_bad_is_ended() {
        let wedged = sandbox("a", State::Wedged);
        assert!(again(&wedged, &[sandbox("b", State::Wedged), wedged.clone()]).is_some());
        assert!(again(&wedged, &[sandbox("a", State::Running)]).is_none());
        let mut reborn = wedged.clone();
        reborn.found.sentry.as_mut().unwrap().identity.start_time += 1;
        assert!(again(&wedged, &[reborn]).is_none());
        assert!(again(&wedged, &[]).is_none());
    }

    #[test]
    fn who_cannot_be_asked_is_not_silent() {
        let mut stopped = sandbox("a", State::Wedged);
        stopped.found.real_shims[0].state = 'T';
        assert!(is_silent(&stopped) && is_silent(&sandbox("b", State::Orphaned)));
        stopped.found.sentry = None;
        assert!(is_silent(&stopped), "nobody is left to answer");
        let mut nowhere = sandbox("a/b", State::Wedged);
        nowhere.found.runsc_root = "/nowhere".into();
        assert!(!is_silent(&nowhere), "such an id no socket has");
    }

    #[test]
    fn who_listens_no_more_is_silent_only_where_it_cannot_run() {
        let folder = tempfile::tempdir().unwrap();
        // Whoever made the listener, nobody is there to say who is asked.
        drop(UnixListener::bind(folder.path().join("runsc-a.sock")).unwrap());
        let mut sentry = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(sentry.id().cast_signed()).unwrap();
        let mut deaf = sandbox("a", State::Wedged);
        deaf.found.runsc_root = folder.path().to_owned();
        deaf.found.sentry.as_mut().unwrap().identity = identity;
        let runs = is_silent(&deaf);
        let process = identity.open().unwrap();
        process.send(Signal::SIGSTOP).unwrap();
        until(Duration::from_secs(10), || Pulse::of(identity).is_some_and(|pulse| pulse.is_held()));
        let stopped = is_silent(&deaf);
        sentry.kill().unwrap();
        sentry.wait().unwrap();
        assert_eq!((runs, stopped, is_silent(&deaf)), (false, true, false));
    }
}
