//! Only what is proved to belong to the sandbox is killed (rule 1).

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::*;
use crate::resources::held::Resources;
use crate::sys::identity::Stat;
use crate::sys::procfs;
use crate::teardown::leftover::Leftover;
use crate::teardown::sequence::{Nobody, Sequence};
use crate::teardown::stuck::await_death;
use crate::teardown::unblock::UnblockPolicy;
use crate::teardown::verify::release_and_verify;
use crate::testing::started;

mod frozen;

/// Processes with the command lines of a real sandbox, each a shell that waits for its input.
struct Cast(Vec<(Child, Identity)>, PathBuf);

impl Cast {
    fn new(folder: &Path, lines: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self(lines.iter().map(|line| Self::play(folder, line)).collect(), folder.to_owned())
    }

    fn play(folder: &Path, line: &str) -> (Child, Identity) {
        let argv: Vec<&str> = line.split(' ').collect();
        let mut command = Command::new("/bin/sh");
        command
            .current_dir(folder)
            .arg0(argv[0])
            .args(["-c", "read x", "--"])
            .args(&argv[1..])
            .stdin(Stdio::piped());
        let child = started(&mut command);
        let identity = Identity::of(child.id() as i32).unwrap();
        (child, identity)
    }

    fn alive(&self) -> Vec<bool> {
        self.0.iter().map(|(_, identity)| identity.is_alive()).collect()
    }

    fn stop(&self, index: usize) {
        let identity = self.0[index].1;
        identity.open().unwrap().send(Signal::SIGSTOP).unwrap();
        while !procfs::is_stopped(Stat::of(identity.pid).unwrap().state) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        std::fs::remove_dir_all(self.1.parent().unwrap()).unwrap();
    }
}

/// A root that no other test has: the processes of all tests are there at once.
fn scope(name: &str) -> Scope {
    let member = |id: &str| Member::new(id, format!("/nonexistent/{name}/{id}"));
    Scope {
        members: vec![member("s1"), member("c2")],
        runsc_root: format!("/nonexistent/{name}/root").into(),
        folder: private_folder(name),
        ..Scope::default()
    }
}

/// The guard's private folder, in which the real shim works.
fn private_folder(name: &str) -> PathBuf {
    let all = std::env::temp_dir().join(format!("guard-test-teardown-{}", std::process::id()));
    all.join(name).join(crate::processes::process::guard_name("/c.sock", name, "s1"))
}

fn sandbox(name: &str) -> Cast {
    let root = format!("--root=/nonexistent/{name}/root");
    let folder = private_folder(name);
    Cast::new(
        &folder,
        &[
            &format!("shim -namespace {name} -address /c.sock -id s1"),
            &format!("runsc {root} wait s1"),
            &format!("runsc-sandbox {root} boot --bundle=/nonexistent/{name}/s1 s1"),
            &format!("runsc-gofer {root} gofer --bundle /nonexistent/{name}/s1 s1"),
            &format!("runsc {root} kill --all s1 9"),
            &format!("runsc-gofer {root} gofer --bundle /nonexistent/{name}/c2 c2"),
            &format!("runsc {root} create --bundle /nonexistent/{name}/c2 c2"),
            &format!("runsc-sandbox {root}2 boot --bundle=/nonexistent/{name}/s12 s1"),
            &format!("runsc {root} state s12"),
        ],
    )
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[test]
fn step_two_spares_the_real_shim_its_wait_and_strangers() {
    let cast = sandbox("step2");
    for index in [2, 3, 4] {
        cast.stop(index);
    }
    assert_eq!(kill_sandbox(&scope("step2"), &mut Signalled::new(), soon()).left, []);
    assert_eq!(cast.alive(), [true, true, false, false, false, false, false, true, true]);
    assert_eq!(kill_sandbox(&scope("step2"), &mut Signalled::new(), soon()).left, []);
}

#[test]
fn a_stopped_real_shim_is_mute_and_so_is_one_whose_wait_is_stopped() {
    let cast = sandbox("silent");
    cast.stop(2);
    assert!(!kill_sandbox(&scope("silent"), &mut Signalled::new(), soon()).cannot_report());
    for teller in [0, 1] {
        let cast = sandbox(&format!("silent{teller}"));
        cast.stop(teller);
        assert!(
            kill_sandbox(&scope(&format!("silent{teller}")), &mut Signalled::new(), soon()).cannot_report()
        );
    }
}

#[test]
fn step_three_leaves_only_strangers() {
    let cast = sandbox("step3");
    cast.stop(0);
    assert_eq!(kill_all(&scope("step3"), &mut Signalled::new(), soon()).left, []);
    assert_eq!(cast.alive(), [false, false, false, false, false, false, false, true, true]);
}

#[test]
fn a_create_that_is_ended_takes_nothing_else_along() {
    let (cast, scope) = (sandbox("create"), scope("create"));
    assert_eq!(kill_create(&scope, &scope.members[1], &mut Signalled::new(), soon()).left, []);
    assert_eq!(cast.alive(), [true, true, true, true, true, false, false, true, true]);
    assert_eq!(kill_create(&scope, &scope.members[0], &mut Signalled::new(), soon()).left, []);
    assert_eq!(cast.alive(), [true, true, false, false, true, false, false, true, true]);
}

#[test]
fn what_descends_from_the_guard_dies_and_the_guard_does_not() {
    let mut guard = Command::new("/bin/sh");
    guard.args(["-c", "(sleep 60 & sleep 61; :) & sleep 62 & read x"]).stdin(Stdio::piped());
    let mut guard = guard.spawn().unwrap();
    let identity = Identity::of(guard.id() as i32).unwrap();
    let scope = Scope { guard: Some(identity), ..scope("descent") };
    while find(&scope).iter().filter(|process| process.comm == "sleep").count() < 3 {
        std::thread::yield_now();
    }
    let found = find(&scope);
    assert_eq!(kill_all(&scope, &mut Signalled::new(), soon()).left, []);
    assert!(identity.is_alive() && found.iter().all(|process| !process.identity.is_alive()));
    guard.kill().unwrap();
    guard.wait().unwrap();
}

#[test]
fn what_waits_for_a_processor_only_is_not_held() {
    let mut busy = started(Command::new("/bin/sh").args(["-c", "while :; do :; done"]));
    let me = Scope { guard: Identity::me().ok(), ..Scope::default() };
    let find = |pid: u32| find(&me).into_iter().find(|process| process.identity.pid == pid as i32).unwrap();
    let mut idle = started(Command::new("/bin/sh").args(["-c", "read x"]).stdin(Stdio::piped()));
    // A shell that only begins may wait for its own program to be read.
    for (child, runs) in [(&busy, true), (&idle, false)] {
        let begun = Instant::now();
        while StuckProcess::of(&find(child.id())).runs() != runs {
            assert!(begun.elapsed() < Duration::from_secs(10), "{child:?} runs: {}", !runs);
            std::thread::yield_now();
        }
    }
    for child in [&mut busy, &mut idle] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn pids_in_runscs_files_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = Cast::new(&private_folder("stranger2"), &["stranger"]);
    for (pid, gofer) in [(1, stranger.0[0].1.pid), (stranger.0[0].1.pid, std::process::id() as i32)] {
        let text = format!(r#"{{"id":"s1","goferPid":{gofer},"sandbox":{{"id":"s1","pid":{pid}}}}}"#);
        std::fs::write(folder.path().join("s1_sandbox:s1.state"), text).unwrap();
        let scope = Scope { runsc_root: folder.path().to_owned(), ..scope("forged") };
        assert_eq!(kill_all(&scope, &mut Signalled::new(), soon()).left, []);
    }
    assert!(stranger.alive()[0]);
}

/// What no release could name: who lives on.
#[test]
fn whoever_lives_on_is_left_over() {
    let cast = sandbox("verified");
    let scope = scope("verified");
    let mut resources = Resources::of(&scope, &scope.members);
    let left = release_and_verify(&scope, &mut resources, soon(), &Nobody);
    let lives = |one: &Leftover| matches!(one, Leftover::Process(process) if process.identity == cast.0[2].1);
    assert!(left.iter().any(lives), "{left:?}");
}
