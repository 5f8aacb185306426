//! From the wire to the guard's vocabulary: only what the guard decides on is decoded.

use std::time::Duration;

use runsc_guard_core::exit::Exit;
use runsc_guard_core::io::{
    Event, Method, Outcome, ProcessId, ProcessSpec, Request, ResponseInfo, Sentry, Status,
};
use runsc_guard_proto::Envelope;
use runsc_guard_proto::protobuf::well_known_types::timestamp::Timestamp;
use runsc_guard_proto::protobuf::{self, Message};
use runsc_guard_proto::types::task::Status as WireStatus;
use runsc_guard_proto::{events, guard, task};
use ttrpc::{Code, Response};

fn process(container: String, exec: String) -> ProcessId {
    ProcessId { container, exec }
}

/// What a request for this method asks for.
pub(crate) fn request(method: Method, payload: &[u8]) -> protobuf::Result<Request> {
    Ok(match method {
        Method::State => {
            let request = task::StateRequest::parse_from_bytes(payload)?;
            Request::State(process(request.id, request.exec_id), Sentry::Runs)
        }
        Method::Create => {
            let request = task::CreateTaskRequest::parse_from_bytes(payload)?;
            let about = ProcessSpec {
                bundle: request.bundle,
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            };
            Request::Create(request.id, about)
        }
        Method::Start => {
            let request = task::StartRequest::parse_from_bytes(payload)?;
            Request::Start(process(request.id, request.exec_id))
        }
        Method::Delete => {
            let request = task::DeleteRequest::parse_from_bytes(payload)?;
            Request::Delete(process(request.id, request.exec_id))
        }
        Method::Pids => Request::Pids(task::PidsRequest::parse_from_bytes(payload)?.id, Sentry::Runs),
        Method::Pause => Request::Pause(task::PauseRequest::parse_from_bytes(payload)?.id),
        Method::Resume => Request::Resume(task::ResumeRequest::parse_from_bytes(payload)?.id),
        Method::Checkpoint => Request::Checkpoint(task::CheckpointTaskRequest::parse_from_bytes(payload)?.id),
        Method::Kill => {
            let request = task::KillRequest::parse_from_bytes(payload)?;
            let (signal, all) = (request.signal, request.all);
            Request::Kill { process: process(request.id, request.exec_id), signal, all }
        }
        Method::Exec => {
            let request = task::ExecProcessRequest::parse_from_bytes(payload)?;
            let about = ProcessSpec {
                bundle: String::new(),
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            };
            Request::Exec(process(request.id, request.exec_id), about)
        }
        Method::ResizePty => {
            let request = task::ResizePtyRequest::parse_from_bytes(payload)?;
            Request::ResizePty(process(request.id, request.exec_id))
        }
        Method::CloseIo => {
            let request = task::CloseIORequest::parse_from_bytes(payload)?;
            Request::CloseIo(process(request.id, request.exec_id))
        }
        Method::Update => Request::Update(task::UpdateTaskRequest::parse_from_bytes(payload)?.id),
        Method::Wait => {
            let request = task::WaitRequest::parse_from_bytes(payload)?;
            Request::Wait(process(request.id, request.exec_id))
        }
        Method::Stats => Request::Stats(task::StatsRequest::parse_from_bytes(payload)?.id),
        Method::Connect => Request::Connect(task::ConnectRequest::parse_from_bytes(payload)?.id),
        Method::Shutdown => Request::Shutdown,
        Method::Join => Request::Join(guard::JoinRequest::parse_from_bytes(payload)?.id),
        Method::End => Request::End(guard::EndRequest::parse_from_bytes(payload)?.id),
        Method::Reap => Request::Reap,
    })
}

/// Whose Stats are asked for.
pub(crate) fn stats_of(request: &ttrpc::Request) -> Option<String> {
    task::StatsRequest::parse_from_bytes(&request.payload).ok().map(|request| request.id)
}

/// Whose Kill is asked for.
pub(crate) fn kill_of(request: &ttrpc::Request) -> Option<String> {
    task::KillRequest::parse_from_bytes(&request.payload).ok().map(|request| request.id)
}

/// The caller's own timeout; none where it set none.
pub(crate) fn caller_timeout(timeout_nano: i64) -> Option<Duration> {
    u64::try_from(timeout_nano).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
}

/// Whether an answer is no error. By number: `code()` takes one that it does not know for OK.
pub(crate) fn is_success(response: &Response) -> bool {
    response.status().code.value() == Code::OK as i32
}

/// What the real shim's answer to `method` means for the record. An answer that cannot be decoded is passed
/// on like any other and teaches nothing.
pub(crate) fn outcome(method: Method, response: &Response) -> Outcome {
    if !is_success(response) {
        return Outcome::Failed { not_found: response.status().code() == Code::NOT_FOUND };
    }
    Outcome::Done(told(method, &response.payload).unwrap_or(ResponseInfo::Nothing))
}

fn told(method: Method, payload: &[u8]) -> protobuf::Result<ResponseInfo> {
    Ok(match method {
        Method::Create => ResponseInfo::Pid(task::CreateTaskResponse::parse_from_bytes(payload)?.pid),
        Method::Start => ResponseInfo::Pid(task::StartResponse::parse_from_bytes(payload)?.pid),
        Method::State => {
            let response = task::StateResponse::parse_from_bytes(payload)?;
            let status = response.status.enum_value().map_or(Status::Unknown, status);
            ResponseInfo::State { status, pid: response.pid }
        }
        Method::Wait => {
            let response = task::WaitResponse::parse_from_bytes(payload)?;
            if response.exited_at.seconds < 0 {
                // Go's zero time, of an exec that could not be started (gVisor's exec.go, `start`): no exit.
                return Ok(ResponseInfo::Nothing);
            }
            ResponseInfo::Exit(exit(0, response.exit_status, &response.exited_at))
        }
        Method::Delete => {
            let response = task::DeleteResponse::parse_from_bytes(payload)?;
            ResponseInfo::Exit(exit(response.pid, response.exit_status, &response.exited_at))
        }
        Method::Pids
        | Method::Pause
        | Method::Resume
        | Method::Checkpoint
        | Method::Kill
        | Method::Exec
        | Method::ResizePty
        | Method::CloseIo
        | Method::Update
        | Method::Stats
        | Method::Connect
        | Method::Shutdown
        | Method::Join
        | Method::End
        | Method::Reap => ResponseInfo::Nothing,
    })
}

fn exit(pid: u32, status: u32, at: &Timestamp) -> Exit {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let nanos = u64::try_from(at.nanos).unwrap_or(0);
    Exit { pid, status, at_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos) }
}

fn status(wire: WireStatus) -> Status {
    match wire {
        WireStatus::UNKNOWN => Status::Unknown,
        WireStatus::CREATED => Status::Created,
        WireStatus::RUNNING => Status::Running,
        WireStatus::STOPPED => Status::Stopped,
        WireStatus::PAUSED => Status::Paused,
        WireStatus::PAUSING => Status::Pausing,
    }
}

/// What an event of the real shim says.
pub(crate) fn event(envelope: &Envelope) -> Event {
    parse_event(envelope.topic.as_str(), &envelope.event.value).unwrap_or(Event::Other)
}

fn parse_event(topic: &str, value: &[u8]) -> protobuf::Result<Event> {
    use events::task as wire;
    Ok(match topic {
        "/tasks/exit" => {
            let event = wire::TaskExit::parse_from_bytes(value)?;
            // Init has its container's id for its own. So may an exec: the core tells by the pid.
            let exec = if event.id == event.container_id { String::new() } else { event.id };
            let exit = exit(event.pid, event.exit_status, &event.exited_at);
            Event::Exit(process(event.container_id, exec), exit)
        }
        "/tasks/start" => {
            Event::Alive(process(wire::TaskStart::parse_from_bytes(value)?.container_id, String::new()))
        }
        "/tasks/exec-started" => {
            let event = wire::TaskExecStarted::parse_from_bytes(value)?;
            Event::Alive(process(event.container_id, event.exec_id))
        }
        "/tasks/paused" => {
            Event::Alive(process(wire::TaskPaused::parse_from_bytes(value)?.container_id, String::new()))
        }
        "/tasks/resumed" => {
            Event::Alive(process(wire::TaskResumed::parse_from_bytes(value)?.container_id, String::new()))
        }
        _ => Event::Other,
    })
}
