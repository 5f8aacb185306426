use std::fs;

use super::*;

fn write(folder: &Path, text: &str) {
    fs::write(folder.join("c1_sandbox:s1.state"), text).unwrap();
}

fn read(text: &str) -> Result<RunscState, StateFileError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), text);
    RunscState::read(folder.path(), "c1", "s1")
}

/// As runsc of 2026-09 writes it, with the keys that nobody needs left in.
const REAL: &str = r#"{"id":"c1","spec":{"ociVersion":"1.0.0","process":{"cwd":"/"},"root":{"path":"/b/c1/rootfs"},
 "mounts":[{"destination":"/proc","type":"proc","source":"/b/c1/proc"},{"destination":"/d","source":"/data"}],
 "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/cni-1"}]}},
 "bundleDir":"/b/c1","status":"running","goferPid":11,"sandbox":{"id":"s1","pid":10,"cgroup":{"cgroupv1":
 {"name":"/k8s/c1","parents":null,"own":{"cpu":true,"memory":false,"freezer":true}}},
 "controlSocketPath":"/run/runsc-s1.sock","mountHints":{"mounts":{}}},
 "compatCgroup":{"cgroupunknown":null},"saver":{"rootDir":"/r"},"goferMountConfs":[{"lower":1,"upper":2}]}"#;

#[test]
fn what_runsc_writes_is_understood() {
    let state = read(REAL).unwrap();
    assert_eq!((state.gofer_pid, state.status.as_str()), (11, "running"));
    assert_eq!(state.bundle_dir, Path::new("/b/c1"));
    let own = state.sandbox_cgroups();
    assert_eq!(own, [Path::new("/sys/fs/cgroup/cpu/k8s/c1"), Path::new("/sys/fs/cgroup/freezer/k8s/c1")]);
    assert!(state.own_cgroups().is_empty());
    assert_eq!(state.control_socket(Path::new("/r")), Some("/run/runsc-s1.sock".into()));
    let folders: Vec<&Path> = state.filestore_folders().collect();
    assert_eq!(folders, ["/b/c1/rootfs", "/b/c1/proc", "/data"].map(Path::new));
}

#[test]
fn a_relative_name_lies_below_its_parents() {
    let v1 = r#"{"id":"c1","sandbox":null,"compatCgroup":{"cgroupv1":{"name":"c1",
        "parents":{"cpu":"/user.slice"},"own":{"cpu":true,"pids":true}}}}"#;
    let own = read(v1).unwrap().own_cgroups();
    assert_eq!(own, [Path::new("/sys/fs/cgroup/cpu/user.slice/c1"), Path::new("/sys/fs/cgroup/pids/c1")]);
}

#[test]
fn v2_and_systemd_list_what_they_made_deepest_first() {
    for kind in ["cgroupv2", "cgroupsystemd"] {
        let text = format!(
            r#"{{"id":"c1","compatCgroup":{{"{kind}":{{"mountpoint":"/sys/fs/cgroup","path":"/a/b",
            "controllers":["cpu"],"own":["/sys/fs/cgroup/a","/sys/fs/cgroup/a/b"],"Name":"x"}}}}}}"#
        );
        let own = read(&text).unwrap().own_cgroups();
        assert_eq!(own, [Path::new("/sys/fs/cgroup/a/b"), Path::new("/sys/fs/cgroup/a")], "{kind}");
    }
}

#[test]
fn a_forged_file_names_no_cgroup_outside_the_hierarchies() {
    for cgroup in [
        r#"{"cgroupv1":{"name":"/../../../etc","own":{"cpu":true}}}"#,
        r#"{"cgroupv1":{"name":"/","own":{"cpu":true}}}"#,
        r#"{"cgroupv1":{"name":"","own":{"cpu":true}}}"#,
        r#"{"cgroupv1":{"name":"x","parents":{"cpu":"/../.."},"own":{"cpu":true}}}"#,
        r#"{"cgroupv1":{"name":"/x","own":{"..":true,"../../../etc":true,"":true}}}"#,
        r#"{"cgroupv2":{"mountpoint":"/etc","own":["/etc/ssh"]}}"#,
        r#"{"cgroupv2":{"mountpoint":"/sys/fs/cgroup","own":["/sys/fs/cgroup","/etc","/sys/fs/cgroup/../x","rel"]}}"#,
        r#"{"cgroupv2":{"mountpoint":"/sys/fs/cgroup","own":["/sys/fs/cgroup/a/../../x"]}}"#,
        r#"{"cgroupunknown":null}"#,
        "null",
    ] {
        let text =
            format!(r#"{{"id":"c1","sandbox":{{"id":"s1","cgroup":{cgroup}}},"compatCgroup":{cgroup}}}"#);
        let state = read(&text).unwrap();
        assert!(state.own_cgroups().is_empty() && state.sandbox_cgroups().is_empty(), "{cgroup}");
    }
}

#[test]
fn a_forged_socket_path_is_not_believed() {
    for path in ["/etc/passwd", "/run/runsc-s2.sock", "/run/x/runsc-s1.sock", "/r/../etc/runsc-s1.sock", ""] {
        let text = format!(r#"{{"id":"c1","sandbox":{{"id":"s1","controlSocketPath":"{path}"}}}}"#);
        assert_eq!(read(&text).unwrap().control_socket(Path::new("/r")), None, "{path}");
    }
    let text = r#"{"id":"c1","sandbox":{"id":"s1","controlSocketPath":"/r/runsc-s1.sock"}}"#;
    assert!(read(text).unwrap().control_socket(Path::new("/r")).is_some());
}

#[test]
fn a_file_about_somebody_else_is_refused() {
    for text in [r#"{"id":"c2","sandbox":{"id":"s1"}}"#, r#"{"id":"c1","sandbox":{"id":"s2"}}"#] {
        assert!(matches!(read(text), Err(StateFileError::Misnamed { .. })), "{text}");
    }
}

#[test]
fn damaged_files_are_errors() {
    for text in ["", "{", &REAL[..REAL.len() / 2], "[]", r#"{"id":7}"#, "\u{0}"] {
        assert!(matches!(read(text), Err(StateFileError::Parse { .. })), "{text}");
    }
}

#[test]
fn a_file_that_is_being_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &REAL[..REAL.len() / 2]);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| RunscState::read(folder.path(), "c1", "s1"));
        std::thread::sleep(REREAD_AFTER / 4);
        write(folder.path(), REAL);
        assert_eq!(reader.join().unwrap().unwrap().id, "c1");
    });
}

#[test]
fn ids_cannot_leave_the_folder() {
    for id in ["", ".", "..", "a/b", "../x", "a:b", "a b", "a\0", "ä", "a\n", "*"] {
        assert!(matches!(file(Path::new("/r"), id, "s", "state"), Err(StateFileError::Id(_))), "{id:?}");
        assert!(matches!(file(Path::new("/r"), "c", id, "state"), Err(StateFileError::Id(_))), "{id:?}");
        assert!(socket_name(id).is_err() && filestore_name(id).is_err(), "{id:?}");
    }
    assert_eq!(
        file(Path::new("/r"), "a_b+c.d-1", "s", "lock").unwrap(),
        Path::new("/r/a_b+c.d-1_sandbox:s.lock")
    );
    assert!(RunscState::read(Path::new("/nonexistent"), "c", "s").unwrap_err().is_absent());
}

#[test]
fn a_files_name_tells_what_it_was_made_of() {
    let path = file(Path::new("/r"), "a_b+c.d-1", "s.1", "lock").unwrap();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    assert_eq!(parse_name(name), Some(("a_b+c.d-1", "s.1", "lock")));
    for other in
        ["a_sandbox:b_sandbox:s.state", "_sandbox:s.state", "a_sandbox:.lock", "a_sandbox:s", "runsc-s.sock"]
    {
        assert_eq!(parse_name(other), None, "{other}");
    }
}
