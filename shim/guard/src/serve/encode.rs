//! From the guard's vocabulary to the wire: its own answers, requests and events. The one place that maps
//! its errors to gRPC codes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runsc_guard_core::error::{Code, GuardError};
use runsc_guard_core::exit::Exit;
use runsc_guard_core::io::{Answer, Method, OwnCall, ProcessId, ProcessSpec, Status};
use runsc_guard_proto::protobuf::well_known_types::any::Any;
use runsc_guard_proto::protobuf::well_known_types::timestamp::Timestamp;
use runsc_guard_proto::protobuf::{EnumOrUnknown, Message, MessageField};
use runsc_guard_proto::types::task::{ProcessInfo, Status as WireStatus};
use runsc_guard_proto::{Envelope, events, guard, service, task};
use ttrpc::{Request, Response};

/// Go's zero time, which the real shim reports for a process that has not exited.
const GO_ZERO_TIME_SECONDS: i64 = -62_135_596_800;

/// The response that carries an answer of the guard's own. What Connect calls the shim's pid is this process'.
pub(crate) fn response(answer: Answer) -> Response {
    match answer {
        // Without a response of the real shim at hand there is nothing to relay; the driver passes it on.
        Answer::Relay | Answer::Done => ok(Vec::new()),
        Answer::State { process, about, status, pid, exit } => {
            message(&state(&process, about, status, pid, exit))
        }
        Answer::Pids(pids) => {
            let mut response = task::PidsResponse::new();
            response.processes = pids.into_iter().map(process_info).collect();
            message(&response)
        }
        Answer::Connect(pid) => {
            let mut response = task::ConnectResponse::new();
            response.shim_pid = std::process::id();
            response.task_pid = pid;
            message(&response)
        }
        Answer::Waited(exit) => {
            let mut response = task::WaitResponse::new();
            response.exit_status = exit.status;
            response.exited_at = timestamp(exit.at_ns);
            message(&response)
        }
        Answer::Deleted(exit) => {
            let mut response = task::DeleteResponse::new();
            response.pid = exit.pid;
            response.exit_status = exit.status;
            response.exited_at = timestamp(exit.at_ns);
            message(&response)
        }
        Answer::Error(refusal) => refused(&refusal),
    }
}

/// The answer to a private End, which has a message of its own.
pub(crate) fn ended(exit: Exit) -> Response {
    let mut response = guard::EndResponse::new();
    response.pid = exit.pid;
    response.exit_status = exit.status;
    response.exited_at_ns = exit.at_ns;
    message(&response)
}

fn refused(refusal: &GuardError) -> Response {
    let code = match refusal.code() {
        Code::DeadlineExceeded => ttrpc::Code::DEADLINE_EXCEEDED,
        Code::NotFound => ttrpc::Code::NOT_FOUND,
        Code::FailedPrecondition => ttrpc::Code::FAILED_PRECONDITION,
    };
    failure(code, refusal.to_string())
}

/// An error response.
pub(crate) fn failure(code: ttrpc::Code, text: String) -> Response {
    let mut response = Response::new();
    response.set_status(ttrpc::get_status(code, text));
    response
}

/// A success with this payload. Without a status, as Go's ttrpc has it: the real shim of 2025 cannot read one, not even OK, and panics (its
/// protobuf library refuses the type).
pub(crate) fn ok(payload: Vec<u8>) -> Response {
    Response { payload, ..Response::default() }
}

/// A success with this message.
pub(crate) fn message(content: &impl Message) -> Response {
    match content.write_to_bytes() {
        Ok(payload) => ok(payload),
        Err(error) => failure(ttrpc::Code::INTERNAL, format!("guard: cannot encode its answer: {error}")),
    }
}

fn state(
    process: &ProcessId,
    about: ProcessSpec,
    status: Status,
    pid: u32,
    exit: Option<Exit>,
) -> task::StateResponse {
    let mut response = task::StateResponse::new();
    // The process's own id, as the real shim has it (pkg/shim/v1/runsc/service.go, State).
    response.id = if process.is_init() { process.container.clone() } else { process.exec.clone() };
    response.bundle = about.bundle;
    response.pid = pid;
    response.status = EnumOrUnknown::new(wire_status(status));
    response.stdin = about.stdin;
    response.stdout = about.stdout;
    response.stderr = about.stderr;
    response.terminal = about.terminal;
    response.exited_at = match exit {
        Some(exit) => {
            response.exit_status = exit.status;
            timestamp(exit.at_ns)
        }
        None => MessageField::some(Timestamp { seconds: GO_ZERO_TIME_SECONDS, ..Default::default() }),
    };
    response
}

fn wire_status(status: Status) -> WireStatus {
    match status {
        Status::Unknown => WireStatus::UNKNOWN,
        Status::Created => WireStatus::CREATED,
        Status::Running => WireStatus::RUNNING,
        Status::Stopped => WireStatus::STOPPED,
        Status::Paused => WireStatus::PAUSED,
        Status::Pausing => WireStatus::PAUSING,
    }
}

fn process_info(pid: u32) -> ProcessInfo {
    let mut info = ProcessInfo::new();
    info.pid = pid;
    info
}

pub(crate) fn timestamp(ns: u64) -> MessageField<Timestamp> {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ns % 1_000_000_000).unwrap_or(0);
    MessageField::some(Timestamp { seconds, nanos, ..Default::default() })
}

/// The present, in nanoseconds since the epoch.
pub(crate) fn wall_clock_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A request of the guard's own to the real shim.
pub(crate) fn own_request(own: &OwnCall, sandbox: &str) -> (Method, Request) {
    let (method, payload) = match own {
        OwnCall::Kill { process, signal, all } => {
            let mut request = task::KillRequest::new();
            request.id = process.container.clone();
            request.exec_id = process.exec.clone();
            request.signal = *signal;
            request.all = *all;
            (Method::Kill, request.write_to_bytes())
        }
        OwnCall::Delete(process) => {
            let mut request = task::DeleteRequest::new();
            request.id = process.container.clone();
            request.exec_id = process.exec.clone();
            (Method::Delete, request.write_to_bytes())
        }
        // gVisor's shim answers Checkpoint without looking anything up (pkg/shim/v1/runsc/service.go: not implemented),
        // so without its lock; what it reads of it is the id, which is where a Connect has it.
        OwnCall::Greet(container) => {
            let mut request = task::ConnectRequest::new();
            request.id = container.clone();
            (Method::Checkpoint, request.write_to_bytes())
        }
        OwnCall::Shutdown => {
            let mut request = task::ShutdownRequest::new();
            request.id = sandbox.to_owned();
            (Method::Shutdown, request.write_to_bytes())
        }
    };
    let mut request = Request::new();
    request.service = service::TASK_V2.to_owned();
    request.method = method.as_str().to_owned();
    // Writing a message of scalars to memory cannot fail; an empty one would be refused by the real shim.
    request.payload = payload.unwrap_or_default();
    (method, request)
}

/// `timeout_nano` for a call; zero is none.
pub(crate) fn timeout_nano(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)
}

/// The event for an exit that the guard has established.
pub(crate) fn exit_event(namespace: &str, process: &ProcessId, exit: Exit) -> Envelope {
    let mut event = events::task::TaskExit::new();
    event.container_id = process.container.clone();
    event.id = if process.is_init() { process.container.clone() } else { process.exec.clone() };
    event.pid = exit.pid;
    event.exit_status = exit.status;
    event.exited_at = timestamp(exit.at_ns);
    let mut any = Any::new();
    any.type_url = "containerd.events.TaskExit".to_owned();
    any.value = event.write_to_bytes().unwrap_or_default();
    let mut envelope = Envelope::new();
    envelope.timestamp = timestamp(wall_clock_ns());
    envelope.namespace = namespace.to_owned();
    envelope.topic = "/tasks/exit".to_owned();
    envelope.event = MessageField::some(any);
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::decode;
    use runsc_guard_core::io::Event;

    #[test]
    fn each_refusal_has_its_grpc_code_and_says_guard() {
        let (method, waited, ends_in) = (Method::Exec, Duration::from_secs(1), Duration::from_secs(2));
        let id = || "a".to_owned();
        let late = [
            GuardError::Late { method, id: id(), waited },
            GuardError::Pending { method, id: id(), waited, ends_in },
            GuardError::PendingForever { method, id: id(), waited },
            GuardError::ExecPending { method, id: id(), waited },
            GuardError::Releasing { id: id(), waited, ends_in },
            GuardError::CreateStuck { id: id(), waited, stuck: "a mount".to_owned() },
        ];
        let unknown = [GuardError::NotFound(id()), GuardError::Finished(id())];
        let impossible = [
            GuardError::Ending { method, id: id(), why: "was ended" },
            GuardError::Unkillable { method, id: id(), left: vec!["pid 7 state D".to_owned()] },
            GuardError::Closing(id()),
        ];
        let late = late.map(|refusal| (refusal, ttrpc::Code::DEADLINE_EXCEEDED));
        let unknown = unknown.map(|refusal| (refusal, ttrpc::Code::NOT_FOUND));
        let impossible = impossible.map(|refusal| (refusal, ttrpc::Code::FAILED_PRECONDITION));
        for (refusal, code) in late.into_iter().chain(unknown).chain(impossible) {
            let response = response(Answer::Error(refusal));
            assert_eq!(response.status().code(), code);
            assert!(response.status().message().starts_with("guard: "));
        }
    }

    #[test]
    fn an_exit_event_reads_back_as_the_same_exit() {
        let exit = Exit { pid: 7, status: 137, at_ns: 1_700_000_000_123_456_789 };
        for exec in ["", "shell"] {
            let process = ProcessId { container: "c".into(), exec: exec.into() };
            let envelope = exit_event("ns", &process, exit);
            assert_eq!(decode::event(&envelope), Event::Exit(process, exit));
        }
    }

    #[test]
    fn state_from_the_record_is_told_like_the_real_shims() {
        let process = ProcessId { container: "c".into(), exec: "e".into() };
        let answer = Answer::State {
            process,
            about: ProcessSpec {
                bundle: "/b".into(),
                stdin: "/in".into(),
                stdout: "/out".into(),
                stderr: "/err".into(),
                terminal: true,
            },
            status: Status::Running,
            pid: 9,
            exit: None,
        };
        let sent = task::StateResponse::parse_from_bytes(&response(answer).payload).unwrap();
        assert_eq!((sent.id.as_str(), sent.pid, sent.bundle.as_str()), ("e", 9, "/b"));
        let stdio = [sent.stdin, sent.stdout, sent.stderr];
        assert_eq!((stdio, sent.terminal), (["/in", "/out", "/err"].map(str::to_owned), true));
        assert_eq!(sent.exited_at.seconds, GO_ZERO_TIME_SECONDS);
    }

    #[test]
    fn a_call_has_its_time_on_the_wire() {
        assert_eq!(timeout_nano(Duration::from_millis(1500)), 1_500_000_000);
        assert_eq!(timeout_nano(Duration::MAX), i64::MAX);
    }
}
