use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::*;
use runsc_guard_node::testing::{fake_guard, ok, status};
use runsc_guard_proto::guard::{EndRequest, EndResponse};
use runsc_guard_proto::protobuf::Message as _;
use runsc_guard_proto::task::DeleteResponse;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::testing::started;

const ADDRESS: &str = "/run/containerd/containerd.sock";

struct Node {
    base: Base,
    place: Place,
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        Self::of("delete-pod1")
    }

    fn of(sandbox: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = Base { runtime: dir.path().join("r"), sockets: dir.path().join("s") };
        let place = Place::of(&base, ADDRESS, "tests", sandbox, None).unwrap();
        place.create().unwrap();
        Self { base, place, dir }
    }

    fn bundle(&self, id: &str) -> PathBuf {
        self.dir.path().join(id)
    }

    /// The record as a guard would keep it for a pod with one container.
    fn record(&self) -> Record {
        let mut record = Record::new("tests", "delete-pod1");
        record.folder.clone_from(&self.place.folder);
        record.socket.clone_from(&self.place.socket);
        record.runsc_root = self.dir.path().join("runsc");
        for id in ["delete-pod1", "delete-c1"] {
            fs::create_dir_all(self.bundle(id)).unwrap();
            record.member_mut(id, &self.bundle(id)).pid = 40;
        }
        record
    }

    fn delete(&self, id: &str) -> (Answer, Duration) {
        let begun = Instant::now();
        let target = Target {
            namespace: "tests".into(),
            id: id.into(),
            address: ADDRESS.into(),
            bundle: self.bundle(id),
            debug: false,
        };
        (run(&self.base, &target, begun, finish), begun.elapsed())
    }
}

#[test]
fn with_everything_missing_there_is_an_answer() {
    let node = Node::new();
    fs::remove_dir_all(&node.base.runtime).unwrap();
    let (answer, took) = node.delete("delete-c1");
    assert_eq!((answer.exit.pid, answer.exit.exit_status), (0, 137));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let response = DeleteResponse::parse_from_bytes(&answer.encode()).unwrap();
    assert_eq!(response.exit_status, 137);
    assert!(response.exited_at.seconds > 1_700_000_000);
}

#[test]
fn a_name_that_leads_elsewhere_touches_nothing() {
    let node = Node::new();
    let (answer, _) = node.delete("../../etc");
    assert_eq!(answer.exit.exit_status, 137);
    assert!(answer.note.unwrap().starts_with("id \"../../etc\" is not one"));
}

#[test]
fn what_is_released_is_answered_from_the_record() {
    let node = Node::new();
    let mut record = node.record();
    let exit = Exit { pid: 40, exit_status: 3, exited_at_ns: 1_500_000_000 };
    let member = record.member_mut("delete-c1", Path::new("/"));
    (member.exit, member.released) = (Some(exit), true);
    assert!(record.store().is_empty());
    // A guard that is asked would not answer.
    let _silent = UnixListener::bind(&node.place.socket).unwrap();
    let (answer, took) = node.delete("delete-c1");
    assert_eq!((answer.exit, answer.note.as_deref()), (exit, None));
    assert!(took < Duration::from_millis(200), "{took:?}");
    let response = DeleteResponse::parse_from_bytes(&answer.encode()).unwrap();
    assert_eq!((response.exited_at.seconds, response.exited_at.nanos), (1, 500_000_000));
}

#[test]
fn a_living_guard_ends_it() {
    let node = Node::new();
    assert!(node.record().store().is_empty());
    fake_guard(&node.place.socket, |_, payload| {
        match EndRequest::parse_from_bytes(payload).unwrap().id.as_str() {
            "delete-c1" => {
                ok(&EndResponse { pid: 4, exit_status: 5, exited_at_ns: 6, ..EndResponse::default() })
            }
            _ => status(ttrpc::Code::NOT_FOUND, "guard: no such container"),
        }
    });
    let exit = Exit { pid: 4, exit_status: 5, exited_at_ns: 6 };
    assert_eq!(node.delete("delete-c1").0.exit, exit);
    let (answer, _) = node.delete("delete-pod1");
    assert_eq!((answer.exit.pid, answer.exit.exit_status, answer.note), (40, 137, None));
}

#[test]
fn what_the_guard_cannot_do_is_told() {
    let node = Node::new();
    assert!(node.record().store().is_empty());
    fake_guard(&node.place.socket, |_, _| {
        status(ttrpc::Code::FAILED_PRECONDITION, "guard: pid 7 is in state D")
    });
    let note = node.delete("delete-c1").0.note.unwrap();
    assert_eq!(note, "container delete-c1: the guard: answered with code 9: guard: pid 7 is in state D");
}

#[test]
fn a_dead_guards_sandbox_is_ended_once_for_all_members() {
    let node = Node::new();
    assert!(node.record().store().is_empty());
    drop(UnixListener::bind(&node.place.socket).unwrap());
    let answers: Vec<_> = thread::scope(|scope| {
        let deletes = ["delete-c1", "delete-pod1"].map(|id| scope.spawn(|| node.delete(id)));
        deletes.map(|delete| delete.join().unwrap()).into_iter().collect()
    });
    for (answer, took) in answers {
        assert_eq!((answer.exit.pid, answer.exit.exit_status, answer.note), (40, 137, None));
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    let (first, again) = (node.delete("delete-c1").0, node.delete("delete-c1").0);
    assert_eq!(first.exit, again.exit);
    assert!(!node.place.socket.exists() && !node.place.folder.exists());
    assert!(!node.place.lock.exists());
}

/// A process with a guard's flags.
fn guard(sandbox: &str) -> std::process::Child {
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "read x", "--", "-namespace", "tests", "-address", ADDRESS, "-id", sandbox]);
    started(child.stdin(std::process::Stdio::piped()))
}

/// A guard that is stopped: its process, and the socket that nobody takes connections from.
fn stopped_guard(node: &Node) -> (std::process::Child, Identity, UnixListener) {
    let child = guard("delete-pod1");
    let identity = Identity::of(child.id() as i32).unwrap();
    identity.open().unwrap().send(Signal::SIGSTOP).unwrap();
    let mut record = node.record();
    record.guard = Some(identity);
    assert!(record.store().is_empty());
    (child, identity, UnixListener::bind(&node.place.socket).unwrap())
}

#[test]
fn a_silent_guard_keeps_its_pod_when_one_container_goes() {
    let node = Node::new();
    let (mut child, identity, _listener) = stopped_guard(&node);
    let (answer, took) = node.delete("delete-c1");
    assert_eq!(answer.exit.exit_status, 137);
    assert!(answer.note.unwrap().contains("no answer within"));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(identity.is_alive());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_silent_guard_goes_with_its_root_container() {
    let node = Node::new();
    let (mut child, identity, listener) = stopped_guard(&node);
    let (answer, took) = node.delete("delete-pod1");
    assert_eq!((answer.exit.exit_status, answer.note), (137, None));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(!identity.is_alive());
    child.wait().unwrap();
    drop(listener);
}

/// As `start` leaves it when it lets the lock go: its guard has said nothing yet.
#[test]
fn what_a_new_guard_of_the_same_id_has_is_left_to_it() {
    // No other test's: a guard is known by its flags.
    let node = Node::of("delete-again");
    let rest = Rest::new(node.record(), &node.place);
    let mut child = guard("delete-again");
    let _listener = UnixListener::bind(&node.place.socket).unwrap();
    rest.go_on();
    assert!(node.place.is_left() && node.place.socket.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    Rest::new(node.record(), &node.place).go_on();
    assert!(!node.place.is_left());
}

#[test]
fn whatever_hangs_there_is_an_answer_in_time() {
    fn hangs(_: &Base, _: &Target, _: Instant) -> Answer {
        loop {
            thread::park();
        }
    }
    let node = Node::new();
    let target = Target {
        namespace: "tests".into(),
        id: "delete-c1".into(),
        address: ADDRESS.into(),
        bundle: node.bundle("delete-c1"),
        debug: false,
    };
    let begun = Instant::now() - (DELETE_BINARY - Duration::from_millis(500));
    let answer = run(&node.base, &target, begun, hangs);
    assert!(answer.note.is_some_and(|note| note.contains("took too long and goes on")));
    assert!(begun.elapsed() < DELETE_BINARY + Duration::from_millis(500), "{:?}", begun.elapsed());
}
