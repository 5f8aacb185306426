use std::os::unix::net::UnixListener;
use std::thread;

use runsc_guard_proto::guard::{Empty, EndRequest, EndResponse, JoinRequest};

use super::*;
use crate::testing::{fake_guard, ok, status};

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

#[test]
fn question_and_answer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    fake_guard(&socket, |method, payload| {
        assert_eq!((method, EndRequest::parse_from_bytes(payload).unwrap().id.as_str()), ("End", "c1"));
        ok(&EndResponse { pid: 5, exit_status: 137, exited_at_ns: 9, ..EndResponse::default() })
    });
    let question = EndRequest { id: "c1".into(), ..EndRequest::default() };
    let answer: EndResponse = ask(&socket, "End", &question, soon()).unwrap();
    assert_eq!((answer.pid, answer.exit_status, answer.exited_at_ns), (5, 137, 9));
}

fn join(socket: &Path) -> Result<Empty, AskError> {
    ask(socket, "Join", &JoinRequest::default(), soon())
}

#[test]
fn an_error_is_code_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    fake_guard(&socket, |_, _| status(ttrpc::Code::FAILED_PRECONDITION, "guard:\nclosing"));
    let error = join(&socket).unwrap_err();
    assert_eq!(error.to_string(), "answered with code 9: guard: closing");
}

#[test]
fn a_code_that_nobody_knows_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    fake_guard(&socket, |_, _| {
        let mut response = status(ttrpc::Code::OK, "?");
        response.mut_status().code = runsc_guard_proto::protobuf::EnumOrUnknown::from_i32(99);
        response
    });
    assert_eq!(join(&socket).unwrap_err().to_string(), "answered with code 99: ?");
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    assert!(matches!(join(&socket), Err(AskError::Absent)));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(join(&socket), Err(AskError::Refused)));
}

#[test]
fn silence_ends_at_the_deadline_also_in_connect() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        assert!(matches!(join(&socket), Err(AskError::Silent(_))));
        let took = begun.elapsed();
        assert!((200..900).contains(&took.as_millis()), "{took:?}");
    }
    drop(listener);
}

#[test]
fn a_guard_that_hangs_up_or_talks_nonsense() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    assert!(matches!(join(&socket), Err(AskError::Broken(_))));
    assert!(matches!(join(&socket), Err(AskError::Malformed)));
    server.join().unwrap();
}
