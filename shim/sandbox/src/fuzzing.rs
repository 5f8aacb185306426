//! What the kernel and runsc say of a sandbox, and its configuration.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::Member;
use crate::Scope;
use crate::processes::process::{Role, claims, guard_name, guards_another, serves};
use crate::resources::asked::Asked;
use crate::resources::cgroup;
use crate::resources::cgroup_path;
use crate::resources::mounts::Mount;
use crate::resources::state_file::{self, RunscState};
use crate::sys::identity::Stat;
use crate::sys::procfs;

const ROOT: &str = "/run/containerd/runsc/k8s.io";
const CGROUPS: &str = "/sys/fs/cgroup";

/// runsc's state files. Whatever one says, what the guard may remove lies below the cgroup hierarchies or has the
/// sandbox's own name.
pub fn state_file(data: &[u8]) {
    let Ok(state) = RunscState::decode(data) else { return };
    for own in [state.own_cgroups(), state.sandbox_cgroups()] {
        own.iter().for_each(|folder| assert_below(CGROUPS, folder));
        for (at, folder) in own.iter().enumerate() {
            let above = |earlier: &PathBuf| folder != earlier && folder.starts_with(earlier);
            assert!(!own[..at].iter().any(above), "{folder:?} after one above it");
        }
    }
    let sandbox = state.sandbox.as_ref().map_or("", |sandbox| &sandbox.id);
    if let Some(socket) = state.control_socket(Path::new(ROOT)) {
        assert_eq!(socket.file_name(), Some(format!("runsc-{sandbox}.sock").as_ref()));
        assert!(
            ["/var/run", "/run", "/tmp", ROOT].map(Path::new).contains(&socket.parent().unwrap_or(&socket))
        );
    }
    for folder in state.filestore_folders() {
        assert!(folder.is_absolute());
        if let Ok(name) = state_file::filestore_name(sandbox) {
            assert_eq!(folder.join(name).parent(), Some(folder));
        }
    }
    if let Ok(file) = state_file::file(Path::new(ROOT), &state.id, sandbox, "state") {
        assert_below(ROOT, &file);
        assert_eq!(file.parent(), Some(Path::new(ROOT)));
    }
}

/// What config.json asks for on the host.
pub fn configured(data: &[u8]) {
    let Some(asked) = Asked::in_config(data) else { return };
    if let Some(path) = &asked.cgroups_path {
        let own = [("cpu,pids".to_owned(), "/a/b".into()), (String::new(), "/a/b".into())];
        let ids = path.to_string_lossy().into_owned();
        for id in ids.split([':', '/']) {
            cgroup_path::folders(path, &own, id).iter().for_each(|folder| assert_below(CGROUPS, folder));
        }
    }
    assert!(asked.network_namespace.is_none_or(|path| path.is_absolute()));
}

/// What /proc says: `stat`, `cgroup`, `cmdline` and `mountinfo` of one process. What was understood and is written
/// as the kernel writes it is understood as the same.
pub fn proc(data: &[u8]) {
    if let Some(stat) = Stat::parse(data) {
        let Stat { identity, comm, state, parent, threads, flags, major_faults, ticks } = &stat;
        let (pid, start) = (identity.pid, identity.start_time);
        let counts = format!("{flags} 0 0 {major_faults} 0 {ticks} 0 0 0 0 0 {threads}");
        let line = format!("{pid} ({comm}) {state} {parent} 0 0 0 0 {counts} 0 {start}\n");
        assert_eq!(Stat::parse(line.as_bytes()), Some(stat.clone()), "{line}");
    }
    for line in data.split(|byte| *byte == b'\n') {
        for folder in procfs::cgroup_line(line).map(cgroup::folders).unwrap_or_default() {
            assert_below(CGROUPS, &folder);
        }
        if let Some(mount) = Mount::parse(line) {
            assert_eq!(Mount::parse(&line_of(&mount)), Some(mount));
        }
    }
    command_line(&procfs::arguments(data));
}

/// As the kernel writes it (`fs/proc_namespace.c`).
fn line_of(mount: &Mount) -> Vec<u8> {
    let escaped = |text: &[u8]| -> Vec<u8> {
        let one = |byte: &u8| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            other => vec![*other],
        };
        text.iter().flat_map(one).collect()
    };
    [
        format!("{} 1 {} / ", mount.id, mount.device).as_bytes(),
        &escaped(mount.point.as_os_str().as_bytes()),
        format!(" rw shared:1 - {} ", mount.kind).as_bytes(),
        &escaped(mount.source.as_bytes()),
        b" rw",
    ]
    .concat()
}

/// Nothing proves that a process is ours and another guard's, and nothing proves it without a scope.
fn command_line(argv: &[OsString]) {
    let folder = Path::new("/run/runsc-guard").join(guard_name("/c.sock", "k8s.io", "root1"));
    let member = |id: &str| Member::new(id, Path::new("/run/b").join(id));
    let scope = Scope {
        members: vec![member("root1"), member("sub1")],
        runsc_root: ROOT.into(),
        folder: folder.clone(),
        ..Scope::default()
    };
    Role::of(argv, &scope, None);
    assert!(!(serves(argv, &folder) && guards_another(argv, &folder)), "{argv:?}");
    assert!(!(claims(argv, &scope) && guards_another(argv, &folder)), "{argv:?}");
    if claims(argv, &scope) {
        let named = |id: &str| argv.iter().any(|one| one.to_string_lossy().contains(id));
        assert!(named("root1") || named("sub1"), "{argv:?}");
    }
    let nobody = Member::new("", "");
    assert!(!claims(argv, &Scope { members: vec![nobody], ..Scope::default() }), "{argv:?}");
    assert!(!claims(argv, &Scope::default()) && !serves(argv, Path::new("")), "{argv:?}");
}

fn assert_below(root: &str, path: &Path) {
    let below = path.strip_prefix(root).unwrap_or_else(|_| panic!("{path:?} is not in {root}"));
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    assert!(plain && below != Path::new(""), "{path:?} is not below {root}");
}
