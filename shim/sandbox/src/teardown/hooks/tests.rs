use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, gettid};

use super::*;
use crate::Scope;
use crate::processes::exempt::running;
use crate::processes::find::descendants;
use crate::resources::held::Resources;
use crate::resources::hooks::claim;
use crate::sys::identity::Identity;
use crate::sys::procfs::children_of;
use crate::teardown::sequence::Nobody;
use crate::teardown::verify::release_and_verify;
use crate::testing::without_descriptors;

/// A folder of root's alone, with a program of this text in it.
fn program(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hook");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

fn hooks(file: PathBuf, hooks: Vec<Hook>) -> Hooks {
    let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let state = State {
        oci_version: "1.2.0".into(),
        id: "c1".into(),
        status: "stopped",
        pid: -1,
        bundle: "/b/c1".into(),
        annotations,
    };
    Hooks { state, file, hooks }
}

fn ran(hook: Hook) -> Ran {
    run(&hooks(PathBuf::new(), vec![hook])).next().unwrap().1
}

#[test]
fn a_hook_gets_the_state_its_arguments_and_its_environment_alone() {
    let (folder, path) = program(r#"cat > "$2"; echo "$0 $1 $(env | grep -c .) $X" >> "$2""#);
    let out = folder.path().join("out");
    let args = vec!["name".to_owned(), "one".to_owned(), out.display().to_string()];
    let env = Some(vec!["X=y".to_owned(), "PATH=/usr/bin:/bin".to_owned()]);
    let hook = Hook { path: path.clone(), args: Some(args), env, timeout: None };
    assert!(matches!(ran(hook), Ran::Well));
    let told = fs::read_to_string(out).unwrap();
    let state = r#"{"ociVersion":"1.2.0","id":"c1","status":"stopped","pid":-1,"bundle":"/b/c1","annotations":{"a":"b"}}"#;
    assert!(told.starts_with(state), "{told}");
    // A script's $0 is its own path; the shell itself adds PWD and what it counts with.
    assert!(told[state.len()..].starts_with(&format!("{} one ", path.display())), "{told}");
    assert!(told.ends_with(" y\n"), "{told}");
}

#[test]
fn what_does_not_end_is_killed_and_named_and_the_next_one_runs() {
    let (folder, path) = program("echo x >> $(dirname $0)/count; sleep 60");
    let (_other, next) = program("exit 3");
    let slow = Hook { path, timeout: Some(1), ..Hook::default() };
    let begun = Instant::now();
    let all = hooks(PathBuf::new(), vec![slow, Hook { path: next, ..Hook::default() }]);
    let ran: Vec<Ran> = run(&all).map(|(_, ran)| ran).collect();
    assert!(matches!(&ran[..], [Ran::Not(_), Ran::Badly(how)] if how.contains("status 3")));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(fs::read_to_string(folder.path().join("count")).unwrap(), "x\n");
    assert!(running().is_empty());
}

#[test]
fn the_limit_holds_where_no_descriptor_is_left() {
    let mut command = Command::new("sleep");
    let running = Exempt::spawn(command.arg("5").process_group(0)).unwrap();
    let (hook, begun) = (Identity::of(running.child.id().cast_signed()).unwrap(), Instant::now());
    let limit = Duration::from_millis(200);
    let ran = without_descriptors(|| finish(running, begun + limit, limit));
    assert!(matches!(ran, Ran::Not(_)) && begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    hook.open().unwrap().send(Signal::SIGKILL).unwrap();
}

/// The guard's server reaps every child.
#[test]
fn one_that_was_reaped_by_others_is_not_said_to_have_run_well() {
    let running = Exempt::spawn(&mut Command::new("false")).unwrap();
    waitpid(Pid::from_raw(running.child.id().cast_signed()), None).unwrap();
    assert!(matches!(finish(running, Instant::now(), Duration::ZERO), Ran::Somehow));
}

#[test]
fn one_that_a_stranger_could_have_written_is_not_run() {
    let (folder, path) = program("touch $(dirname $0)/ran");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(
        matches!(ran(Hook { path, ..Hook::default() }), Ran::Not(why) if why.contains("others than root"))
    );
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn hooks_run_once_and_only_for_who_has_removed_the_state() {
    let (folder, path) = program("echo x >> $(dirname $0)/count");
    let file = folder.path().join("c1_sandbox:s1.state");
    let all = [hooks(file.clone(), vec![Hook { path, ..Hook::default() }])];
    assert!(claim(&all).is_empty(), "runsc has been here");
    fs::write(&file, "").unwrap();
    let mut resources = Resources { hooks: all.to_vec(), ..Resources::default() };
    let soon = Instant::now() + Duration::from_secs(1);
    for _ in 0..2 {
        assert_eq!(release_and_verify(&Scope::default(), &mut resources, soon, &Nobody), []);
    }
    assert_eq!(fs::read_to_string(folder.path().join("count")).unwrap(), "x\n");
}

#[test]
fn a_hook_and_what_it_starts_are_no_part_of_the_sandbox() {
    let (_folder, path) = program("sleep 61 & sleep 62");
    let running = Exempt::spawn(Command::new(path).process_group(0)).unwrap();
    let (me, hook) = (Identity::me().unwrap(), Identity::of(running.child.id().cast_signed()).unwrap());
    let seen = || descendants(hook).len() == 2;
    while !seen() {
        std::thread::yield_now();
    }
    let below: Vec<Identity> = descendants(hook).iter().map(|one| one.identity).collect();
    let all: Vec<Identity> = descendants(me).iter().map(|one| one.identity).collect();
    assert!(all.iter().all(|one| *one != hook && !below.contains(one)));
    assert!(matches!(finish(running, Instant::now(), Duration::ZERO), Ran::Not(_)));
    // All were killed; who is reaped by whom, and when, is not ours to say.
    let soon = Instant::now() + Duration::from_secs(10);
    while below.iter().chain([&hook]).any(|one| one.is_alive()) {
        assert!(Instant::now() < soon, "something of it lives on");
        std::thread::yield_now();
    }
}

/// A script's interpreter, or the disk below it, may hang.
#[test]
fn a_hook_that_hangs_before_it_runs_holds_up_no_look() {
    let folder = tempfile::tempdir().unwrap();
    let server = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let told = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    // Nobody serves it.
    mount(Some("none"), folder.path(), Some("fuse"), MsFlags::empty(), Some(told.as_str())).unwrap();
    let (me, path) = (Identity::me().unwrap(), folder.path().join("hook"));
    let (tell, told) = mpsc::channel();
    let starts = thread::spawn(move || {
        tell.send(gettid().as_raw()).unwrap();
        Exempt::spawn(&mut Command::new(path)).is_err()
    });
    let thread = told.recv().unwrap();
    let hook = loop {
        if let [hook] = children_of(me.pid, thread).unwrap()[..] {
            break hook;
        }
    };
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(descendants(me)));
    let seen = told.recv_timeout(Duration::from_secs(2));
    umount2(folder.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
    assert!(starts.join().unwrap());
    assert!(seen.unwrap().iter().all(|one| one.identity.pid != hook));
}
