//! This process, or one that it starts, stands for the sentry; no socket of it answers unless a test says so.

use super::*;
use nix::sys::signal::Signal;
use runsc_guard_sandbox::sys::identity::Identity;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::thread;

const TIMEOUT: Duration = Duration::from_millis(300);

fn control(folder: &tempfile::TempDir, sentry: Identity) -> Control {
    Control { runsc_root: folder.path().to_owned(), sandbox: "c1".into(), sentry }
}

fn sleeper() -> (Child, Identity) {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let identity = Identity::of(child.id() as i32).unwrap();
    (child, identity)
}

#[tokio::test]
async fn one_that_answers_is_heard_and_runsc_knows_whether_it_is_paused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("runsc-c1.sock")).unwrap();
    let server = thread::spawn(move || {
        for _ in 0..3 {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_to_end(&mut Vec::new()).unwrap();
            socket.write_all(br#"{"success":true,"err":"","result":2}"#).unwrap();
        }
    });
    let control = control(&folder, Identity::me().unwrap());
    let long = Duration::from_secs(20);
    assert_eq!(hear(control.clone(), long).await, ProbeResult::Answers);
    let state = |status: &str| format!(r#"{{"id":"c1","status":"{status}","sandbox":{{"id":"c1"}}}}"#);
    let path = folder.path().join("c1_sandbox:c1.state");
    std::fs::write(&path, state("running")).unwrap();
    assert_eq!(hear(control.clone(), long).await, ProbeResult::Answers);
    std::fs::write(&path, state("paused")).unwrap();
    assert_eq!(hear(control, long).await, ProbeResult::Paused);
    server.join().unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_silence_unless_it_is_stopped_or_dead() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, sentry) = sleeper();
    let control = control(&folder, sentry);
    assert_eq!(hear(control.clone(), TIMEOUT).await, ProbeResult::Slow);
    sentry.open().unwrap().send(Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    while hear(control.clone(), TIMEOUT).await != ProbeResult::Nothing {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    assert!(begun.elapsed() >= TIMEOUT);
    sentry.open().unwrap().send(Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(hear(control, TIMEOUT).await, ProbeResult::Nothing);
}
