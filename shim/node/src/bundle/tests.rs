use super::*;
use std::os::unix::fs::PermissionsExt;

fn record(bundles: &[&Path]) -> Record {
    let mut record = Record::new("k8s.io", "pod1");
    record.guard = Some(Identity { pid: 10, start_time: 20 });
    for (at, bundle) in bundles.iter().enumerate() {
        let id = if at == 0 { "pod1".to_owned() } else { format!("c{at}") };
        record.member_mut(&id, bundle).pid = 7;
    }
    record
}

#[test]
fn it_lies_in_every_bundle_that_exists_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, gone) = (dir.path().join("pod1"), dir.path().join("c1"), dir.path().join("c2"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let record = record(&[&one, &two, &gone]);
    assert!(record.store().is_empty());
    for bundle in [&one, &two] {
        assert_eq!(Record::load(bundle).as_ref(), Some(&record));
        let mode = fs::metadata(bundle.join(RECORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(!gone.exists());
}

#[test]
fn a_bundle_that_cannot_be_written_is_an_error_for_the_log_only() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(RECORD)).unwrap();
    assert_eq!(record(&[dir.path()]).store().len(), 1);
    assert_eq!(Record::load(dir.path()), None);
}

#[test]
fn missing_empty_truncated_and_foreign_records_say_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Record::load(dir.path()), None);
    let whole = serde_json::to_vec(&record(&[dir.path()])).unwrap();
    for content in [&b""[..], &whole[..whole.len() / 2], b"null", b"\xff", b"{\"members\": 3}"] {
        fs::write(dir.path().join(RECORD), content).unwrap();
        assert_eq!(Record::load(dir.path()), None);
    }
}

#[test]
fn unknown_and_missing_fields_are_no_obstacle() {
    let newer = br#"{"version": 9, "new": {"a": [1]}, "sandbox": "pod1",
        "members": [{"id": "c1", "more": true, "exit": {"pid": 3, "exit_status": 1,
        "exited_at_ns": 5, "by": "guard"}}, {"bundle": "/without/id"}]}"#;
    let read = Record::parse(newer, "").unwrap();
    assert_eq!(read.sandbox, "pod1");
    assert_eq!(read.members.len(), 1);
    let exit = read.member("c1").unwrap().exit.unwrap();
    assert_eq!((exit.pid, exit.exit_status, exit.exited_at_ns), (3, 1, 5));
    assert_eq!(Record::parse(b"{}", ""), Some(Record::default()));
}

#[test]
fn pids_of_another_boot_are_dropped_and_the_rest_kept() {
    let mut before = record(&[Path::new("/b")]);
    before.boot_id = "another".into();
    let read = Record::parse(&serde_json::to_vec(&before).unwrap(), &boot_id()).unwrap();
    assert_eq!(read.guard, None);
    assert_eq!(read.members, before.members);
}

#[test]
fn the_root_comes_first_and_nobody_twice() {
    let mut record = Record::new("k8s.io", "pod1");
    record.member_mut("c1", Path::new("/c1"));
    record.member_mut("pod1", Path::new("/pod1"));
    record.member_mut("c1", Path::new("/other")).released = true;
    let ids: Vec<_> = record.members.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["pod1", "c1"]);
    assert_eq!(record.member("c1").unwrap().bundle, Path::new("/c1"));
    assert!(!record.is_released());
    record.member_mut("pod1", Path::new("/")).released = true;
    assert!(record.is_released());
    assert!(!Record::default().is_released());
    assert_eq!(record.scope().members.len(), 2);
}

#[test]
fn runscs_own_files_tell_who_belongs_together() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    write(
        "pod1_sandbox:pod1.state",
        r#"{"id":"pod1","bundleDir":"/b/pod1","sandbox":{"id":"pod1","pid":77}}"#,
    );
    write("c1_sandbox:pod1.state", r#"{"id":"c1","bundleDir":"/b"#);
    write("c2_sandbox:pod2.state", "{}");
    write("pod1_sandbox:pod1.lock", "");
    assert_eq!(sandbox_of(dir.path(), "c1").as_deref(), Some("pod1"));
    assert_eq!(sandbox_of(dir.path(), "c3"), None);
    let mut found = sandbox_states(dir.path(), "pod1");
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<_> = found.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["c1", "pod1"]);
    assert_eq!((found[1].pid, found[1].bundle.as_path()), (77, Path::new("/b/pod1")));
    assert!(sandbox_states(Path::new("/nowhere"), "pod1").is_empty());
}

#[test]
fn the_real_shims_state_tells_its_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = || state_root(dir.path(), "ns");
    assert_eq!(root(), None);
    let path = dir.path().join("state.json");
    for (options, expected) in [
        (r#""root":"/srv/runsc""#, Some("/srv/runsc/ns")),
        (r#""root":"""#, None),
        (r#""root":"srv""#, None),
        (r#""root":"/srv/runsc","runscConfig":null"#, Some("/srv/runsc/ns")),
        (r#""root":"/srv/runsc","runscConfig":{"platform":"ptrace"}"#, Some("/srv/runsc/ns")),
        (r#""root":"","runscConfig":{"root":"/srv/other"}"#, Some("/srv/other")),
        (r#""root":"/srv/runsc","runscConfig":{"root":"other"}"#, None),
    ] {
        fs::write(&path, format!(r#"{{"rootfs":"/b/rootfs","options":{{{options}}}}}"#)).unwrap();
        assert_eq!(root(), expected.map(PathBuf::from), "{options}");
    }
}
