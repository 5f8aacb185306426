//! This process stands for the sentry, and a thread of it answers on its socket; the real shim is played by the test.

use super::*;
use runsc_guard_core::io::ConnectionKind;
use runsc_guard_proto::protobuf::{Message as _, MessageField, well_known_types::any::Any};
use runsc_guard_proto::task;
use runsc_guard_sandbox::diagnostics::usage::Usage;
use runsc_guard_sandbox::diagnostics::usage::self_proof::{FAILURES, HELD};
use runsc_guard_sandbox::sys::identity::Identity;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use ttrpc::Request;

const TIMEOUT: Duration = Duration::from_secs(6);

/// A sentry that says what it is told to; of nothing it keeps its mouth shut.
struct Sentry {
    folder: tempfile::TempDir,
    says: Arc<Mutex<Vec<u8>>>,
}

impl Sentry {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("runsc-pod.sock")).unwrap();
        let says = Arc::new(Mutex::new(Vec::new()));
        let words = says.clone();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut asked = String::new();
                socket.read_to_string(&mut asked).unwrap();
                assert!(asked.contains("containerManager.Event"), "{asked}");
                let words = words.lock().unwrap().clone();
                if words.is_empty() {
                    silent.push(socket);
                } else {
                    let _ = socket.write_all(&words);
                }
            }
        });
        Self { folder, says }
    }

    fn says(&self, words: impl Into<Vec<u8>>) {
        *self.says.lock().unwrap() = words.into();
    }

    fn control(&self) -> Control {
        let runsc_root = self.folder.path().to_owned();
        Control { runsc_root, sandbox: "pod".into(), sentry: Identity::me().unwrap() }
    }
}

/// No container has used anything, so that the host's processor time does not matter.
fn used(id: &str, memory: u64, pids: u64) -> String {
    format!(
        r#"{{"success":true,"err":"","result":{{"event":{{"type":"stats","id":"{id}","data":{{"cpu":{{"usage":{{}}}},
        "memory":{{"usage":{{"limit":0,"usage":{memory},"failcnt":0}}}},"pids":{{"current":{pids}}}}}}},
        "containerUsage":{{}}}}}}"#
    )
}

fn shim_says(memory: u64) -> Response {
    let mut usage = Usage::default();
    usage.memory.usage.usage = memory;
    usage.pids.current = 1;
    encode::ok(Form::V1.payload(&usage))
}

struct World {
    stats: Stats,
    sentry: Sentry,
    messages: UnboundedReceiver<Message>,
    calls: u64,
}

impl World {
    fn new() -> Self {
        let (reports, messages) = unbounded_channel();
        Self { stats: Stats::new(true, reports), sentry: Sentry::new(), messages, calls: 0 }
    }

    async fn heard(&mut self) -> Next {
        let Some(Message::Used(call, told)) = self.messages.recv().await else { panic!("another message") };
        self.stats.sentry_told(call, told)
    }

    /// One call: who has answered it, and what. The real shim answers `shim` if it is asked.
    async fn call(&mut self, container: &str, shim: Response) -> (&'static str, Response) {
        self.calls += 1;
        let call = CallId(self.calls);
        let asked = task::StatsRequest { id: container.into(), ..Default::default() };
        let request = Request { payload: asked.write_to_bytes().unwrap(), ..Request::default() };
        let forward = Forward { call, request, timeout: TIMEOUT, connection: ConnectionKind::Control };
        if self.stats.ask(forward, Some(self.sentry.control())).is_some() {
            return ("shim", shim);
        }
        match self.heard().await {
            Next::Answer(response) => ("sentry", response),
            Next::Forward(forward) => {
                assert!(forward.timeout <= TIMEOUT && forward.timeout > TIMEOUT / 2);
                self.stats.shim_told(call, &shim);
                if self.stats.open.contains_key(&call) {
                    assert!(matches!(self.heard().await, Next::Nothing));
                }
                ("both", shim)
            }
            Next::Nothing => panic!("a call without an answer"),
        }
    }

    /// A container that has proved itself.
    async fn proved() -> Self {
        let mut world = Self::new();
        world.sentry.says(used("c", 300, 1));
        for _ in 0..HELD {
            assert_eq!(world.call("c", shim_says(300)).await.0, "both");
        }
        let (who, response) = world.call("c", shim_says(1)).await;
        assert_eq!((who, response), ("sentry", shim_says(300)));
        assert_eq!(world.stats.refuted(), None);
        world
    }
}

#[tokio::test]
async fn what_has_been_proved_is_answered_by_the_sentry_and_nothing_stays() {
    let mut world = World::proved().await;
    assert!(world.stats.open.is_empty());
    // Another container has to prove itself, a restarted one as well.
    world.sentry.says(used("d", 300, 1));
    assert_eq!(world.call("d", shim_says(300)).await.0, "both");
    world.stats.retain(|container| container == "d");
    world.sentry.says(used("c", 300, 1));
    assert_eq!(world.call("c", shim_says(300)).await.0, "both");
}

#[tokio::test]
async fn a_difference_is_said_once_and_is_for_good() {
    let mut world = World::new();
    world.sentry.says(used("c", 300, 1));
    let mut other = Usage::default();
    (other.memory.usage.usage, other.memory.usage.limit, other.pids.current) = (300, 7, 1);
    let shim = encode::ok(Form::V1.payload(&other));
    assert_eq!(world.call("c", shim.clone()).await.0, "both");
    let why = world.stats.refuted().unwrap();
    assert_eq!(why, "memory.usage.limit is 7 there, and 0 and 0 by the sentry");
    assert_eq!(world.call("c", shim).await.0, "shim");
    assert_eq!(world.stats.refuted(), None);
}

#[tokio::test]
async fn nonsense_another_containers_numbers_and_too_much_are_for_good() {
    let much = format!("{{\"success\":true,\"result\":\"{}\"}}", "x".repeat(70_000));
    for words in ["garbage".to_owned(), used("d", 300, 1), much, used("c", 300, 1).replace("pids", "tasks")] {
        let mut world = World::proved().await;
        world.sentry.says(words);
        assert_eq!(world.call("c", shim_says(301)).await, ("both", shim_says(301)));
        assert!(world.stats.refuted().unwrap().contains("makes no sense"));
        assert_eq!(world.call("c", shim_says(302)).await.0, "shim");
    }
}

#[tokio::test]
async fn silence_is_for_good_where_the_shim_answers_three_times_in_a_row() {
    let mut world = World::proved().await;
    let late = encode::failure(ttrpc::Code::DEADLINE_EXCEEDED, "late".to_owned());
    world.sentry.says("");
    let began = Instant::now();
    // Where the real shim cannot tell either, it is not the way.
    for _ in 0..FAILURES + 1 {
        assert_eq!(world.call("c", late.clone()).await.0, "both");
    }
    assert!(began.elapsed() >= PATIENCE * u32::from(FAILURES + 1));
    assert_eq!(world.stats.refuted(), None);
    for _ in 0..FAILURES - 1 {
        world.call("c", shim_says(300)).await;
    }
    world.sentry.says(used("c", 300, 1));
    assert_eq!(world.call("c", late).await.0, "sentry");
    world.sentry.says("");
    for failure in 1..=FAILURES {
        assert_eq!(world.stats.refuted(), None);
        assert_eq!(world.call("c", shim_says(300)).await.0, "both", "{failure}");
    }
    assert!(world.stats.refuted().unwrap().ends_with("no answer in time"));
    assert_eq!(world.call("c", shim_says(300)).await.0, "shim");
}

#[tokio::test]
async fn an_answer_without_a_process_is_the_real_shims_to_give() {
    let mut world = World::proved().await;
    world.sentry.says(used("c", 300, 0));
    let ended = encode::failure(ttrpc::Code::UNKNOWN, "cannot stat a stopped container".to_owned());
    assert_eq!(world.call("c", ended.clone()).await, ("both", ended));
    world.sentry.says(used("c", 300, 1));
    assert_eq!(world.call("c", shim_says(1)).await.0, "sentry");
}

#[tokio::test]
async fn a_form_that_is_not_known_is_the_real_shims_to_send() {
    let mut world = World::new();
    world.sentry.says(used("c", 300, 1));
    let any = Any { type_url: "io.containerd.cgroups.v9.Metrics".into(), ..Any::default() };
    let response = task::StatsResponse { stats: MessageField::some(any), ..Default::default() };
    let shim = encode::ok(response.write_to_bytes().unwrap());
    assert_eq!(world.call("c", shim.clone()).await, ("both", shim.clone()));
    assert!(world.stats.refuted().unwrap().contains("a form that is not known"));
    assert_eq!(world.call("c", shim).await.0, "shim");
}
