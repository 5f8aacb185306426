use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use super::*;
use crate::Member;
use crate::sys::bounded;
use crate::testing::started;

/// A process that sleeps under a command line of our choice, and is ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new(argv: &[&str]) -> Self {
        // `sh` keeps whatever arguments follow its script; `read` from a pipe that nobody writes sleeps.
        let mut command = Command::new("/bin/sh");
        command.arg0(argv[0]).args(["-c", "read x", "--"]).args(&argv[1..]);
        Self(started(command.stdin(std::process::Stdio::piped())))
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn scope(id: &str) -> Scope {
    let bundle = format!("/nonexistent/bundles/{id}");
    Scope {
        members: vec![Member::new(id, bundle)],
        runsc_root: "/nonexistent/runsc/ns".into(),
        folder: format!("/nonexistent/guard/{id}").into(),
        ..Scope::default()
    }
}

fn pids(found: &[Process]) -> Vec<i32> {
    found.iter().map(|process| process.identity.pid).collect()
}

#[test]
fn without_a_guard_only_command_lines_prove() {
    let scope = scope("find-line");
    let sentry = Sleeper::new(&["runsc-sandbox", "--root=/nonexistent/runsc/ns", "boot", "find-line"]);
    let neighbour = Sleeper::new(&["runsc-sandbox", "--root=/nonexistent/runsc/ns", "boot", "find-line2"]);
    let elsewhere = Sleeper::new(&["runsc-sandbox", "--root=/nonexistent/other/ns", "boot", "find-line"]);
    let namesake = Sleeper::new(&["not-runsc", "--root=/nonexistent/runsc/ns", "boot", "find-line"]);
    let found = find(&scope);
    assert_eq!(pids(&found), [sentry.pid()]);
    assert_eq!(found[0].role, Role::Sentry);
    drop((neighbour, elsewhere, namesake));
}

#[test]
fn a_living_guard_proves_by_descent_only() {
    let stranger = Sleeper::new(&["runsc-sandbox", "--root=/nonexistent/runsc/ns", "boot", "find-descent"]);
    let mut guard = Command::new("/bin/sh");
    guard.args(["-c", "sleep 60 & sh -c 'sleep 61; :' & read x"]).stdin(std::process::Stdio::piped());
    let mut guard = guard.process_group(0).spawn().unwrap();
    let mut scope = scope("find-descent");
    scope.guard = Some(Identity::of(guard.id() as i32).unwrap());
    let found = loop {
        let found = find(&scope);
        if found.iter().filter(|process| process.comm == "sleep").count() == 2 {
            break found;
        }
    };
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(!pids(&found).contains(&stranger.pid()));
    assert!(!pids(&found).contains(&(guard.id() as i32)));
    for process in &found {
        process.identity.open().unwrap().send(nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    guard.kill().unwrap();
    // A dead guard, reaped or not, proves nothing any more.
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(pids(&find(&scope)), [stranger.pid()]);
    guard.wait().unwrap();
}

#[test]
fn both_ways_down_find_the_same() {
    let me = std::process::id() as i32;
    let child = Sleeper::new(&["sh"]);
    let table = snapshot();
    assert!(closure(&table, BTreeSet::from([me])).iter().any(|stat| stat.identity.pid == child.pid()));
    assert!(descend(me).is_none_or(|found| found.iter().any(|stat| stat.identity.pid == child.pid())));
}

/// A shell with the flags of a guard or real shim of the pod `id`, and with one child.
fn serving(arg0: &str, id: &str, folder: &std::path::Path) -> Child {
    let mut command = Command::new("/bin/sh");
    command.arg0(arg0).args(["-c", "sleep 60 & read x", "--"]);
    command.args(["-namespace", "ns", "-address", "/c.sock", "-id", id]).current_dir(folder);
    started(command.stdin(std::process::Stdio::piped()))
}

fn end(child: &mut Child, below: &[Process]) {
    for process in below {
        process.identity.open().unwrap().send(nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_real_shim_is_known_by_flags_and_folder_and_brings_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut scope = scope("find-shim");
    scope.folder = dir.path().join(crate::processes::process::guard_name("/c.sock", "ns", "find-shim"));
    std::fs::create_dir(&scope.folder).unwrap();
    let mut elsewhere = serving("shim", "find-shim", dir.path());
    let mut another = serving("shim", "find-shim2", &scope.folder);
    // Whatever a file says of them.
    scope.real_shim = Identity::of(elsewhere.id() as i32).ok();
    assert!(find(&scope).is_empty());
    let mut shim = serving("shim", "find-shim", &scope.folder);
    let found = loop {
        let found = find(&scope);
        if found.len() == 2 && found[1].comm == "sleep" {
            break found;
        }
    };
    assert_eq!(pids(&found)[0], shim.id() as i32);
    assert_eq!(found[0].role, Role::RealShim);
    end(&mut shim, &found[1..]);
    for child in [&mut elsewhere, &mut another] {
        let below = descendants(Identity::of(child.id() as i32).unwrap());
        end(child, &below);
    }
}

#[test]
fn what_another_guard_lives_above_is_not_found() {
    let scope = scope("find-guarded");
    let line = "runsc-sandbox /bin/sh -c 'read x <&3' -- --bundle=/nonexistent/bundles/find-guarded";
    let child_of = |arg0: &str| {
        let mut parent = Command::new("/bin/bash");
        parent.arg0(arg0).args(["-c", &format!("exec 3<&0; (exec -a {line}) & wait"), "--"]);
        parent.args(["-namespace", "ns", "-address", "/c.sock", "-id", "another"]);
        let parent = started(parent.stdin(std::process::Stdio::piped()));
        let identity = Identity::of(parent.id() as i32).unwrap();
        let child = loop {
            let below = descendants(identity);
            let name = |pid| bounded::command_line(pid).ok().and_then(|argv| argv.into_iter().next());
            if below.iter().any(|one| name(one.identity.pid).is_some_and(|name| name == "runsc-sandbox")) {
                break below;
            }
        };
        (parent, child)
    };
    let (mut guard, guarded) = child_of("/x/containerd-shim-runsc-guard-v2");
    let (mut nobody, free) = child_of("/x/something-else");
    assert_eq!(pids(&find(&scope)), pids(&free));
    end(&mut guard, &guarded);
    end(&mut nobody, &free);
}

#[test]
fn neither_the_caller_nor_the_first_process_is_ever_found() {
    let mut scope = scope("find-me");
    scope.guard = Identity::of(1).ok();
    scope.real_shim = Some(Identity::me().unwrap());
    let found = find(&scope);
    assert!(!pids(&found).contains(&1) && !pids(&found).contains(&(std::process::id() as i32)));
}

#[test]
fn whoever_has_a_dead_ones_pid_by_now_has_no_descendants_to_end() {
    let mut child = started(Command::new("sleep").arg("60"));
    let me = Identity::me().unwrap();
    assert!(pids(&descendants(me)).contains(&(child.id() as i32)));
    let dead = Identity { start_time: me.start_time - 1, ..me };
    assert_eq!(pids(&descendants(dead)), pids(&[]));
    child.kill().unwrap();
    child.wait().unwrap();
}
