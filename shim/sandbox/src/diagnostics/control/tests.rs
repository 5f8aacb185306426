//! A server of the test's own process stands for the sentry: then that is what this process is.

use super::*;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

const OK: &[u8] = br#"{"success":true,"err":"","result":2}"#;

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

fn long() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn control(&self) -> Control {
        let runsc_root = self.folder.path().to_owned();
        Control { runsc_root, sandbox: "c1".into(), sentry: Identity::me().unwrap() }
    }

    fn bind(&self) -> UnixListener {
        UnixListener::bind(self.folder.path().join("runsc-c1.sock")).unwrap()
    }

    /// Answers each of `answers` to a question of its own and gives what was asked.
    fn serve(&self, answers: Vec<Vec<u8>>) -> thread::JoinHandle<Vec<String>> {
        let listener = self.bind();
        thread::spawn(move || {
            let serve_one = |answer: &Vec<u8>| {
                let (mut socket, _) = listener.accept().unwrap();
                let mut question = String::new();
                socket.read_to_string(&mut question).unwrap();
                // Who asks may have had enough.
                let _ = socket.write_all(answer);
                question
            };
            answers.iter().map(serve_one).collect()
        })
    }
}

fn told(answer: &[u8]) -> Result<u32, Unanswered> {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(vec![answer.to_vec()]);
    let told = sandbox.control().ask("a.B", "c1", long());
    assert_eq!(server.join().unwrap(), [r#"{"method":"a.B","arg":"c1"}"#]);
    told
}

#[test]
fn an_answer_is_the_result_of_a_success() {
    assert_eq!(told(OK).unwrap(), 2);
    let refused = told(br#"{"success":false,"err":"unknown method","result":null}"#).unwrap_err();
    assert!(matches!(&refused, Unanswered::Refused(why) if why == "unknown method"), "{refused}");
    assert!(matches!(told(b"").unwrap_err(), Unanswered::Gone));
    for nonsense in [&b"2"[..], b"{", b"{}", br#"{"success":true,"result":"x"}"#, b"\xff", &[OK, OK].concat()]
    {
        assert!(matches!(told(nonsense).unwrap_err(), Unanswered::Nonsense), "{nonsense:?}");
    }
    let endless = vec![b' '; ANSWER_LIMIT + 1];
    assert!(matches!(told(&endless).unwrap_err(), Unanswered::Nonsense));
}

#[test]
fn whether_it_answers_takes_any_answer() {
    let sandbox = Sandbox::new();
    let refusal = br#"{"success":false,"err":"x","result":null}"#.to_vec();
    let server = sandbox.serve(vec![OK.to_vec(), refusal.clone(), refusal]);
    let control = sandbox.control();
    assert_eq!(control.ask::<u32>("a.B", (), long()).unwrap(), 2);
    assert!(matches!(control.ask::<u32>("a.B", (), long()), Err(Unanswered::Refused(_))));
    control.answers(long()).unwrap();
    let asked = server.join().unwrap();
    assert_eq!(asked[2], r#"{"method":"containerManager.ContainerRuntimeState","arg":"c1"}"#);
}

#[test]
fn silence_ends_at_the_deadline_whatever_the_other_end_does() {
    let sandbox = Sandbox::new();
    let listener = sandbox.bind();
    let control = sandbox.control();
    let begun = Instant::now();
    // Nobody accepts; then somebody accepts and says half a word; then the queue is full.
    assert!(matches!(control.ask::<u32>("a.B", (), soon()), Err(Unanswered::Silent)));
    let mut question = control.put("a.B", ()).unwrap();
    assert!(question.told::<u32>().unwrap().is_none());
    // This process may well be at work meanwhile.
    assert!(matches!(control.answers(soon()), Err(Unanswered::Silent | Unanswered::Slow)));
    listener.accept().unwrap();
    let half: Vec<UnixStream> = (0..2).map(|_| listener.accept().unwrap().0).collect();
    let told = thread::spawn({
        let control = control.clone();
        move || control.ask::<u32>("a.B", (), soon())
    });
    let (mut third, _) = listener.accept().unwrap();
    third.write_all(b"{\"success\":").unwrap();
    assert!(matches!(told.join().unwrap(), Err(Unanswered::Silent)));
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let full = (0..9).map(|_| control.put("a.B", ())).find_map(Result::err);
    assert!(matches!(full, Some(Unanswered::Silent)), "{full:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(half);
}

#[test]
fn only_the_sentry_is_told_anything() {
    let sandbox = Sandbox::new();
    let listener = sandbox.bind();
    let mut control = sandbox.control();
    control.sentry.start_time += 1;
    assert!(matches!(control.answers(soon()), Err(Unanswered::Stranger(_))));
    control.sentry = Identity::of(nix::unistd::getppid().as_raw()).unwrap();
    let me = Identity::me().unwrap().pid;
    assert!(matches!(control.answers(soon()), Err(Unanswered::Stranger(pid)) if pid == me));
    let mut heard = String::new();
    for _ in 0..2 {
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    }
    assert_eq!(heard, "");
}

#[test]
fn no_socket_no_listener_and_no_link_to_one() {
    let sandbox = Sandbox::new();
    let path = sandbox.folder.path().join("runsc-c1.sock");
    let none = || matches!(sandbox.control().answers(soon()), Err(Unanswered::Unasked(_)));
    assert!(none());
    std::fs::write(&path, "").unwrap();
    assert!(none());
    std::fs::remove_file(&path).unwrap();
    let elsewhere = Sandbox::new();
    let server = elsewhere.serve(vec![OK.to_vec()]);
    std::os::unix::fs::symlink(elsewhere.folder.path().join("runsc-c1.sock"), &path).unwrap();
    assert!(none());
    elsewhere.control().answers(long()).unwrap();
    server.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    drop(sandbox.bind());
    assert!(matches!(sandbox.control().answers(soon()), Err(Unanswered::Gone)));
    let hostile = Control { sandbox: "../c1".into(), ..sandbox.control() };
    assert!(matches!(hostile.answers(soon()), Err(Unanswered::Unasked(_))));
}

#[test]
fn a_path_longer_than_an_address_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let long_name = folder.path().join("r".repeat(120));
    std::fs::create_dir(&long_name).unwrap();
    let sandbox = Sandbox::new();
    let server = sandbox.serve(vec![OK.to_vec()]);
    std::fs::rename(sandbox.folder.path().join("runsc-c1.sock"), long_name.join("runsc-c1.sock")).unwrap();
    Control { runsc_root: long_name, ..sandbox.control() }.answers(long()).unwrap();
    server.join().unwrap();
}

#[test]
fn a_container_is_killed_in_the_words_of_runsc() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(vec![br#"{"success":true,"err":"","result":{}}"#.to_vec()]);
    let mut question = sandbox.control().kill("c2").unwrap();
    assert!(wait_readable(question.as_fd(), long()).unwrap());
    let taken = loop {
        if let Some(taken) = question.told::<IgnoredAny>().unwrap() {
            break taken;
        }
    };
    assert_eq!(taken, IgnoredAny);
    let asked = r#"{"method":"containerManager.Signal","arg":{"CID":"c2","Signo":9,"PID":0,"Mode":0}}"#;
    assert_eq!(server.join().unwrap(), [asked]);
}
