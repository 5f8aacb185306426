use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::thread;

use runsc_guard_proto::protobuf::Message;
use tempfile::TempDir;

use super::*;
use runsc_guard_node::testing::{fake_guard, ok, status};
use runsc_guard_sandbox::testing::started;

const ADDRESS: &str = "/run/containerd/containerd.sock";

/// A node with one pod of which container `c1` is about to start.
struct Node {
    base: Base,
    place: Place,
    bundle: PathBuf,
    _dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = Base { runtime: dir.path().join("r"), sockets: dir.path().join("s") };
        let place = Place::of(&base, ADDRESS, "k8s.io", "pod1", None).unwrap();
        place.create().unwrap();
        let bundle = dir.path().join("c1");
        fs::create_dir(&bundle).unwrap();
        let config = r#"{"annotations": {"io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": "pod1"}}"#;
        fs::write(bundle.join("config.json"), config).unwrap();
        Self { base, place, bundle, _dir: dir }
    }

    fn join(&self) -> Result<Standing, StartError> {
        let (sandbox, container) = ("pod1", "c1");
        Newcomer { sandbox, container, bundle: &self.bundle, place: &self.place }.join()
    }

    fn start(&self, id: &str) -> Result<String, String> {
        let target = Target {
            namespace: "k8s.io".into(),
            id: id.into(),
            address: ADDRESS.into(),
            ..Target::default()
        };
        let bootstrap =
            Bootstrap { config_path: Some(self.bundle.join("runsc.toml")), ..Bootstrap::default() };
        run(&self.base, &target, bootstrap, &self.bundle).map_err(|error| error.to_string())
    }

    /// A process that passes for the guard.
    fn guard(&self) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read x", "--", "-namespace", "k8s.io", "-address", ADDRESS, "-id", "pod1"]);
        let child = started(command.stdin(std::process::Stdio::piped()));
        let identity = Identity::of(child.id() as i32).unwrap();
        fs::write(self.place.guard(), serde_json::to_vec(&identity).unwrap()).unwrap();
        child
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_guard_that_expects_the_container_is_joined() {
    let node = Node::new();
    fake_guard(&node.place.socket, |method, payload| {
        assert_eq!((method, JoinRequest::parse_from_bytes(payload).unwrap().id.as_str()), ("Join", "c1"));
        ok(&Empty::default())
    });
    let address = node.place.address();
    assert_eq!(node.start("c1").unwrap(), address);
    assert_eq!(fs::read_to_string(node.bundle.join("address")).unwrap(), address);
    let record = Record::load(&node.bundle).unwrap();
    assert_eq!((record.sandbox.as_str(), record.socket.clone()), ("pod1", node.place.socket.clone()));
    assert_eq!(record.member("c1").unwrap().bundle, node.bundle);
    assert_eq!(record.members[0].id, "pod1");
    assert!(!node.place.lock.exists());
}

#[test]
fn where_nobody_is_or_was_there_is_room() {
    let node = Node::new();
    assert_eq!(node.join().unwrap(), Standing::Vacant);
    drop(UnixListener::bind(&node.place.socket).unwrap());
    assert_eq!(node.join().unwrap(), Standing::Vacant);
    end(node.guard());
    assert_eq!(node.join().unwrap(), Standing::Vacant);
}

#[test]
fn a_closing_guard_is_waited_for() {
    let node = Node::new();
    fake_guard(&node.place.socket, |_, _| status(ttrpc::Code::FAILED_PRECONDITION, "guard: closing"));
    let guard = node.guard();
    let begun = Instant::now();
    let closing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        end(guard);
    });
    assert_eq!(node.join().unwrap(), Standing::Vacant);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    closing.join().unwrap();
}

#[test]
fn a_closing_guard_that_stays_is_named() {
    let node = Node::new();
    let guard = node.guard();
    let error = node.join().unwrap_err().to_string();
    assert!(error.contains("guard of sandbox pod1 no longer serves (no socket at"), "{error}");
    assert!(error.contains(&format!("pid {} is in state S (sleeping)", guard.id())), "{error}");
    end(guard);
}

#[test]
fn a_silent_guard_is_named_and_never_doubled() {
    let node = Node::new();
    let _listener = UnixListener::bind(&node.place.socket).unwrap();
    let guard = node.guard();
    let identity = Identity::of(guard.id() as i32).unwrap();
    identity.open().unwrap().send(nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    let error = node.start("c1").unwrap_err();
    let took = begun.elapsed();
    assert!((950..1900).contains(&took.as_millis()), "{took:?}");
    assert!(error.contains(&format!("pid {} is in state T (stopped by a signal)", guard.id())), "{error}");
    assert!(!node.bundle.join("address").exists());
    end(guard);
}

#[test]
fn another_refusal_is_told_in_the_guards_words() {
    let node = Node::new();
    fake_guard(&node.place.socket, |_, _| status(ttrpc::Code::INVALID_ARGUMENT, "what is Join"));
    assert_eq!(
        node.start("c1").unwrap_err(),
        "the guard of sandbox pod1 refused container c1: answered with code 3: what is Join"
    );
}

#[test]
fn a_bad_configuration_starts_no_guard() {
    let node = Node::new();
    let file = node.bundle.join("runsc.toml");
    fs::write(&file, "[guard]\nkill_deadline = 4\n").unwrap();
    let error = node.start("c1").unwrap_err();
    assert!(error.starts_with(&format!("{}:2: [guard] kill_deadline = 4: ", file.display())), "{error}");
    fs::write(&file, "[guard]\nshim = \"/nowhere/shim\"\n").unwrap();
    let error = node.start("c1").unwrap_err();
    assert_eq!(error, "the real shim /nowhere/shim is no executable file; correct [guard] shim");
    assert!(!node.place.socket.exists());
}

#[test]
fn a_container_that_would_lead_runsc_astray_starts_no_guard() {
    let node = Node::new();
    let annotate = |value: &str| {
        let config = format!(
            r#"{{"annotations": {{"dev.gvisor.flag.root": {value}, "dev.gvisor.flag.debug": "true"}}}}"#
        );
        fs::write(node.bundle.join("config.json"), config).unwrap();
    };
    let started = |flags: &str| {
        let text = format!("[guard]\nshim = \"/nowhere/shim\"\n[runsc_config]\n{flags}");
        fs::write(node.bundle.join("runsc.toml"), text).unwrap();
        node.start("pod1").unwrap_err()
    };
    annotate("\"/else\\nwhere\"");
    let error = started("allow-flag-override = \"true\"");
    assert!(error.starts_with("dev.gvisor.flag.root = \"/else where\" is refused: "), "{error}");
    let goes_on = "the real shim /nowhere/shim is no executable file; correct [guard] shim";
    assert_eq!(started(""), goes_on, "runsc refuses that in its own words");
    annotate("null");
    assert_eq!(started("allow-flag-override = \"true\""), goes_on);
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let node = Node::new();
    assert!(node.start("../c1").unwrap_err().starts_with("id \"../c1\" is not one that containerd gives"));
    let config = r#"{"annotations": {"io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "../../pod"}}"#;
    fs::write(node.bundle.join("config.json"), config).unwrap();
    assert!(node.start("c1").unwrap_err().starts_with("id \"../../pod\" is not one"));
}

#[test]
fn a_bundle_without_a_spec_is_told() {
    let node = Node::new();
    fs::remove_file(node.bundle.join("config.json")).unwrap();
    let error = node.start("c1").unwrap_err();
    assert_eq!(error, format!("config.json in {}: no such file", node.bundle.display()));
}
