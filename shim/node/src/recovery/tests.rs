use std::fs;

use super::*;
use crate::paths::Base;
use runsc_guard_sandbox::teardown::sequence::Nobody;

const ADDRESS: &str = "/run/containerd/containerd.sock";

fn place(dir: &Path) -> Place {
    let base = Base { runtime: dir.join("r"), sockets: dir.join("s") };
    Place::of(&base, ADDRESS, "tests", "orphan-pod1", None).unwrap()
}

#[test]
fn with_nothing_to_learn_from_the_rest_is_derived() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let record = reconstruct(&place, "tests", "orphan-pod1", "orphan-c1", &dir.path().join("orphan-c1"));
    assert_eq!(record.runsc_root, Path::new("/run/containerd/runsc/tests"));
    assert_eq!((&record.folder, &record.socket), (&place.folder, &place.socket));
    let members: Vec<_> = record.members.iter().map(|member| member.bundle.as_path()).collect();
    assert_eq!(members, [dir.path().join("orphan-pod1"), dir.path().join("orphan-c1")]);
}

/// Its word is there and cannot be read: here as a link that leads to itself.
#[test]
fn a_guard_whose_word_cannot_be_read_is_not_dead() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    fs::create_dir_all(&place.folder).unwrap();
    assert_eq!(params::guard_of(&place, None).unwrap(), None);
    std::os::unix::fs::symlink(place.guard(), place.guard()).unwrap();
    params::guard_of(&place, None).unwrap_err();
}

#[test]
fn the_roots_record_and_runscs_files_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let root = dir.path().join("orphan-pod1");
    fs::create_dir(&root).unwrap();
    let mut known = Record::new("tests", "orphan-pod1");
    known.runsc_root = dir.path().join("runsc");
    known.member_mut("orphan-pod1", &root).pid = 5;
    known.store_in(&root).unwrap();
    fs::create_dir(&known.runsc_root).unwrap();
    let state = r#"{"id":"orphan-c2","bundleDir":"/b/c2","sandbox":{"id":"orphan-pod1","pid":6}}"#;
    fs::write(known.runsc_root.join("orphan-c2_sandbox:orphan-pod1.state"), state).unwrap();
    let record = reconstruct(&place, "tests", "orphan-pod1", "orphan-c1", &dir.path().join("orphan-c1"));
    let members: Vec<_> = record.members.iter().map(|one| (one.id.as_str(), one.pid)).collect();
    assert_eq!(members, [("orphan-pod1", 5), ("orphan-c2", 6), ("orphan-c1", 0)]);
}

#[test]
fn burying_keeps_known_exits_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    place.create().unwrap();
    fs::write(&place.socket, b"").unwrap();
    let bundle = dir.path().join("orphan-pod1");
    fs::create_dir(&bundle).unwrap();
    let mut record = reconstruct(&place, "tests", "orphan-pod1", "orphan-c1", &dir.path().join("gone"));
    let known = Exit { pid: 4, exit_status: 3, exited_at_ns: 2 };
    record.member_mut("orphan-pod1", &bundle).exit = Some(known);
    let left = cleanup(&mut record, &place, patience(Instant::now() + Duration::from_secs(5)), &Nobody);
    assert_eq!(left, Vec::<String>::new());
    assert!(!place.folder.exists() && !place.socket.exists());
    let written = Record::load(&bundle).unwrap();
    assert!(written.is_released());
    assert_eq!(written.member("orphan-pod1").unwrap().exit, Some(known));
    assert_eq!(
        written.member("orphan-c1").unwrap().exit.unwrap().exit_status,
        runsc_guard_core::exit::KILLED
    );
    assert!(
        cleanup(&mut record, &place, patience(Instant::now() + Duration::from_secs(5)), &Nobody).is_empty()
    );
}
