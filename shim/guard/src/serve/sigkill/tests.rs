//! This process stands for the sentry, and a thread of it answers on its socket.

use super::*;
use runsc_guard_core::io::ConnectionKind;
use runsc_guard_proto::protobuf::Message as _;
use runsc_guard_proto::task::KillRequest;
use runsc_guard_sandbox::sys::identity::Identity;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use ttrpc::Request;

const CALL: CallId = CallId(7);
const TIMEOUT: Duration = Duration::from_secs(30);
const TAKEN: &[u8] = br#"{"success":true,"err":"","result":{}}"#;
const REFUSED: &[u8] = br#"{"success":false,"err":"no such process","result":null}"#;

/// Answers each question so; nothing is to keep silent.
fn serve(folder: &Path, answer: &'static [u8]) {
    let listener = UnixListener::bind(folder.join("runsc-pod.sock")).unwrap();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut asked = String::new();
            socket.read_to_string(&mut asked).unwrap();
            if answer.is_empty() {
                silent.push(socket);
            } else {
                socket.write_all(answer).unwrap();
            }
        }
    });
}

fn control(folder: &Path) -> Control {
    Control { runsc_root: folder.to_owned(), sandbox: "pod".into(), sentry: Identity::me().unwrap() }
}

fn forward() -> Forward {
    let asked = KillRequest { id: "app".into(), signal: 9, ..KillRequest::default() };
    let request = Request { payload: asked.write_to_bytes().unwrap(), ..Request::default() };
    Forward { call: CALL, request, timeout: TIMEOUT, connection: ConnectionKind::Own }
}

struct World {
    sigkills: Sigkills,
    messages: UnboundedReceiver<Message>,
}

impl World {
    fn new() -> Self {
        let (reports, messages) = unbounded_channel();
        Self { sigkills: Sigkills::new(reports), messages }
    }

    async fn heard(&mut self) -> Next {
        let Some(Message::Signalled(CALL, is_taken)) = self.messages.recv().await else {
            panic!("another message")
        };
        self.sigkills.told(CALL, is_taken)
    }
}

#[tokio::test]
async fn what_the_sentry_takes_is_done() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path(), TAKEN);
    let mut world = World::new();
    assert!(world.sigkills.ask(forward(), Some(control(folder.path()))).is_none());
    assert!(matches!(world.heard().await, Next::Answer(response) if decode::is_success(&response)));
    assert!(world.sigkills.open.is_empty());
}

#[tokio::test]
async fn what_it_does_not_take_is_the_real_shims_with_the_time_that_is_left() {
    for (answer, least) in [(REFUSED, Duration::ZERO), (b"nonsense", Duration::ZERO), (b"", PATIENCE)] {
        let folder = tempfile::tempdir().unwrap();
        serve(folder.path(), answer);
        let mut world = World::new();
        assert!(world.sigkills.ask(forward(), Some(control(folder.path()))).is_none());
        let Next::Forward(forward) = world.heard().await else { panic!("not the real shim's: {answer:?}") };
        assert_eq!(forward.call, CALL);
        let took = TIMEOUT - forward.timeout;
        assert!(took >= least && took < TIMEOUT / 2, "{took:?}");
    }
}

#[tokio::test]
async fn whom_nobody_can_ask_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    // Not known yet; and known, but there is no socket.
    let back = world.sigkills.ask(forward(), None).unwrap();
    assert_eq!((back.call, back.timeout), (CALL, TIMEOUT));
    assert!(world.sigkills.ask(forward(), Some(control(folder.path()))).is_none());
    assert!(matches!(world.heard().await, Next::Forward(_)));
    // A stranger's socket is told nothing.
    serve(folder.path(), TAKEN);
    let mut stranger = control(folder.path());
    stranger.sentry.pid = 1;
    assert!(world.sigkills.ask(forward(), Some(stranger)).is_none());
    assert!(matches!(world.heard().await, Next::Forward(_)));
}

#[tokio::test]
async fn a_call_that_is_given_up_goes_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path(), REFUSED);
    let mut world = World::new();
    assert!(world.sigkills.ask(forward(), Some(control(folder.path()))).is_none());
    world.sigkills.forget(CALL);
    assert!(matches!(world.heard().await, Next::Nothing));
}

#[tokio::test]
async fn a_call_whose_time_is_over_still_has_a_limit_on_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path(), REFUSED);
    let mut world = World::new();
    let short = Forward { timeout: Duration::ZERO, ..forward() };
    assert!(world.sigkills.ask(short, Some(control(folder.path()))).is_none());
    let Next::Forward(forward) = world.heard().await else { panic!("not the real shim's") };
    assert!(!forward.timeout.is_zero());
}
