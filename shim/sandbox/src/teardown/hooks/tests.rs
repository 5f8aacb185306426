use std::os::unix::fs::PermissionsExt;

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::Scope;
use crate::processes::exempt::running;
use crate::processes::find::descendants;
use crate::resources::held::Resources;
use crate::resources::hooks::claim;
use crate::sys::identity::Identity;
use crate::teardown::sequence::Nobody;
use crate::teardown::verify::release_and_verify;

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
    let (me, hook) = (Identity::me().unwrap(), running.identity.unwrap());
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
