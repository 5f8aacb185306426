use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::config::Config;
use crate::paths::Base;
use runsc_guard_sandbox::testing::{started, without_descriptors};

const ADDRESS: &str = "/c.sock";

struct Node {
    base: Base,
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { base: Base { runtime: dir.path().join("r"), sockets: dir.path().join("s") }, dir }
    }

    fn place(&self, id: &str) -> Place {
        Place::of(&self.base, ADDRESS, "sweep", id, None).unwrap()
    }

    /// A pod whose guard was told this and is gone.
    fn left_by(&self, id: &str) -> Place {
        let place = self.place(id);
        place.create().unwrap();
        drop(UnixListener::bind(&place.socket).unwrap());
        let params = ServeParams {
            config: Config::default(),
            config_file: None,
            shim: "/nowhere/shim".into(),
            namespace: "sweep".into(),
            sandbox: id.into(),
            container: id.into(),
            bundle: self.dir.path().join("bundles").join(id),
            address: ADDRESS.into(),
            ttrpc_address: String::new(),
            place: place.clone(),
            debug: false,
            oom_score_refused: None,
            annotations_ignored: None,
        };
        fs::write(place.params(), serde_json::to_vec(&params).unwrap()).unwrap();
        place
    }
}

/// A process with a guard's flags.
fn guard(id: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read x", "--", "-namespace", "sweep", "-id", id, "-address", ADDRESS]);
    started(command.stdin(Stdio::piped()))
}

#[test]
fn only_the_dead_without_a_bundle_are_swept() {
    let node = Node::new();
    let own = node.place("own");
    let [forsaken, expected, held, served] =
        ["forsaken", "expected", "held", "served"].map(|id| node.left_by(id));
    fs::create_dir_all(node.dir.path().join("bundles/expected")).unwrap();
    let lock = Lock::take(&held.lock, Instant::now()).unwrap();
    // Its own word is lost, and it lives.
    let mut guard = guard("served");
    let stray = node.place("nobody").lock;
    fs::write(&stray, b"").unwrap();
    let half = node.left_by("half");
    fs::remove_file(half.params()).unwrap();
    fs::remove_file(&half.socket).unwrap();
    let drill = own.folder.with_file_name("drill-0123456789abcdef").join("runsc-guard-drill-1");
    fs::create_dir_all(&drill).unwrap();
    sweep(&own);
    assert!(drill.exists(), "what is no pod's has its own to remove it");
    assert!(!half.is_left() && !half.lock.exists());
    assert!(!forsaken.is_left() && !forsaken.lock.exists() && !stray.exists());
    assert!(expected.is_left() && held.is_left() && served.is_left());
    drop(lock);
    guard.kill().unwrap();
    guard.wait().unwrap();
    sweep(&own);
    assert!(expected.is_left() && !held.is_left() && !served.is_left());
}

#[test]
fn who_cannot_look_does_not_say_that_nobody_serves() {
    let node = Node::new();
    let place = node.left_by("unseen");
    assert!(without_descriptors(|| is_served(&place.folder)));
    assert!(!is_served(&place.folder));
}

#[test]
fn a_real_shim_that_was_left_goes_too() {
    let node = Node::new();
    let place = node.left_by("shim");
    let mut shim = Command::new("/bin/sh");
    shim.args(["-c", "read x", "--", "-namespace", "sweep", "-address", ADDRESS, "-id", "shim"]);
    let mut shim = started(shim.current_dir(&place.folder).stdin(Stdio::piped()));
    sweep(&node.place("own"));
    assert!(!place.is_left());
    assert!(!shim.wait().unwrap().success(), "killed");
}
