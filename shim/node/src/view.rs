//! A guard's view of its sandbox as it travels: the core's enums as those of `guard.proto`, and what a reader makes of
//! the answer of a guard of any version: a number of a newer one is taken for what nothing is decided on.

use runsc_guard_core::io::{Method, Status, StepKind};
use runsc_guard_core::view::{Awaited, Progress};
use runsc_guard_proto::guard as wire;
use runsc_guard_proto::protobuf::EnumOrUnknown;

/// Writes where the sandbox stands.
pub fn put_progress(response: &mut wire::StatusResponse, progress: Progress) {
    progress.as_str().clone_into(&mut response.stage);
    response.progress = EnumOrUnknown::new(of_progress(progress));
    response.step = match progress {
        Progress::Step(kind) => EnumOrUnknown::new(of_step(kind)),
        _ => EnumOrUnknown::default(),
    };
}

/// Reads where the sandbox stands. A guard that says something which is not known here does not serve: it is taken
/// for being in a step, which is called by the name that comes with it.
pub fn progress(response: &wire::StatusResponse) -> wire::Progress {
    match response.progress.enum_value() {
        Ok(wire::Progress::PROGRESS_UNSPECIFIED) | Err(_) => wire::Progress::PROGRESS_ESCALATING,
        Ok(known) => known,
    }
}

/// Reads what is waited for.
pub fn asked(waiting: &wire::Waiting) -> wire::Method {
    waiting.asked.enum_value().unwrap_or_default()
}

/// A deadline's method.
pub const fn of_awaited(awaited: Awaited) -> wire::Method {
    match awaited {
        Awaited::Exit => wire::Method::METHOD_KILL,
        Awaited::Deletion => wire::Method::METHOD_DELETE,
        Awaited::Creation => wire::Method::METHOD_CREATE,
    }
}

const fn of_progress(progress: Progress) -> wire::Progress {
    match progress {
        Progress::Serving => wire::Progress::PROGRESS_SERVING,
        Progress::Step(_) => wire::Progress::PROGRESS_ESCALATING,
        Progress::Unkillable => wire::Progress::PROGRESS_UNKILLABLE,
        Progress::Ended => wire::Progress::PROGRESS_ENDED,
        Progress::Closing => wire::Progress::PROGRESS_CLOSING,
    }
}

const fn of_step(kind: StepKind) -> wire::Step {
    match kind {
        StepKind::Diagnose => wire::Step::STEP_DIAGNOSE,
        StepKind::KillSandbox => wire::Step::STEP_KILL_SANDBOX,
        StepKind::KillAll => wire::Step::STEP_KILL_ALL,
        StepKind::KillCreate => wire::Step::STEP_KILL_CREATE,
        StepKind::ReleaseOne => wire::Step::STEP_RELEASE_ONE,
        StepKind::Release => wire::Step::STEP_RELEASE,
        StepKind::Unblock => wire::Step::STEP_UNBLOCK,
        StepKind::Watch => wire::Step::STEP_WATCH,
    }
}

/// A status of a container's first process.
pub const fn of_status(status: Status) -> wire::TaskState {
    match status {
        Status::Unknown => wire::TaskState::TASK_STATE_UNKNOWN,
        Status::Created => wire::TaskState::TASK_STATE_CREATED,
        Status::Running => wire::TaskState::TASK_STATE_RUNNING,
        Status::Stopped => wire::TaskState::TASK_STATE_STOPPED,
        Status::Paused => wire::TaskState::TASK_STATE_PAUSED,
        Status::Pausing => wire::TaskState::TASK_STATE_PAUSING,
    }
}

/// A method.
pub const fn of_method(method: Method) -> wire::Method {
    match method {
        Method::State => wire::Method::METHOD_STATE,
        Method::Create => wire::Method::METHOD_CREATE,
        Method::Start => wire::Method::METHOD_START,
        Method::Delete => wire::Method::METHOD_DELETE,
        Method::Pids => wire::Method::METHOD_PIDS,
        Method::Pause => wire::Method::METHOD_PAUSE,
        Method::Resume => wire::Method::METHOD_RESUME,
        Method::Checkpoint => wire::Method::METHOD_CHECKPOINT,
        Method::Kill => wire::Method::METHOD_KILL,
        Method::Exec => wire::Method::METHOD_EXEC,
        Method::ResizePty => wire::Method::METHOD_RESIZE_PTY,
        Method::CloseIo => wire::Method::METHOD_CLOSE_IO,
        Method::Update => wire::Method::METHOD_UPDATE,
        Method::Wait => wire::Method::METHOD_WAIT,
        Method::Stats => wire::Method::METHOD_STATS,
        Method::Connect => wire::Method::METHOD_CONNECT,
        Method::Shutdown => wire::Method::METHOD_SHUTDOWN,
        Method::Join => wire::Method::METHOD_JOIN,
        Method::End => wire::Method::METHOD_END,
        Method::Reap => wire::Method::METHOD_REAP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_proto::protobuf::{Enum as _, Message as _};

    fn response(progress: Progress) -> wire::StatusResponse {
        let mut response = wire::StatusResponse::new();
        put_progress(&mut response, progress);
        response
    }

    #[test]
    fn where_a_sandbox_stands_is_read_as_it_was_written() {
        let others = [Progress::Serving, Progress::Unkillable, Progress::Ended, Progress::Closing];
        for progress in others.into_iter().chain(StepKind::ALL.map(Progress::Step)) {
            let bytes = response(progress).write_to_bytes().unwrap();
            let told = wire::StatusResponse::parse_from_bytes(&bytes).unwrap();
            assert_eq!(super::progress(&told), of_progress(progress), "{told:?}");
            assert_eq!(told.stage, progress.as_str());
        }
    }

    #[test]
    fn a_newer_guard_that_says_something_new_does_not_serve() {
        let mut newer = response(Progress::Serving);
        newer.progress = EnumOrUnknown::from_i32(99);
        assert_eq!(progress(&newer), wire::Progress::PROGRESS_ESCALATING);
        let waiting = wire::Waiting {
            method: "Create".into(),
            asked: EnumOrUnknown::from_i32(99),
            ..wire::Waiting::default()
        };
        assert_eq!(asked(&waiting), wire::Method::METHOD_UNSPECIFIED);
    }

    #[test]
    fn every_number_has_its_meaning() {
        let private = [Method::Join, Method::End, Method::Reap];
        let mut methods: Vec<i32> =
            Method::TASK_API.into_iter().chain(private).map(|one| of_method(one).value()).collect();
        assert!(methods.is_sorted(), "the task API's order");
        methods.insert(0, 0);
        assert_eq!(methods, wire::Method::VALUES.iter().map(wire::Method::value).collect::<Vec<_>>());
        let mut steps: Vec<i32> = StepKind::ALL.iter().map(|one| of_step(*one).value()).collect();
        steps.insert(0, 0);
        assert_eq!(steps, wire::Step::VALUES.iter().map(wire::Step::value).collect::<Vec<_>>());
    }
}
