//! What can block, for a bounded time: a thread that is left behind, a child that is killed.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use runsc_guard_sandbox::sys::kernel::wait_child;

use crate::threads::apart;

/// Far more than a version or a configuration takes.
const MAX_OUTPUT: u64 = 1 << 20;
/// What a program has printed is read by then, once it has ended.
const AFTER_EXIT: Duration = Duration::from_millis(500);

/// What [`run`] gives.
pub(crate) struct Run {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// A result that a thread of its own works out.
pub(crate) struct Later<T>(Receiver<T>);

impl<T> Later<T> {
    /// The result, once it is there.
    pub(crate) fn poll(&self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T: Send + 'static> Later<T> {
    /// Begins.
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, result) = mpsc::channel();
        // Nobody listens to what comes too late.
        apart(move || drop(done.send(work())));
        Self(result)
    }

    /// The result, if it comes by `deadline`; the thread is left behind otherwise, and ends with this process.
    pub(crate) fn by(self, deadline: Instant) -> Option<T> {
        self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }
}

/// What a program prints, if it has closed its output by `deadline`. It has a process group of its own, and none
/// of that is left when this returns, save what the kernel cannot kill.
pub(crate) fn output(command: &mut Command, deadline: Instant) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
    let text = reader(child.stdout.take()).by(deadline);
    // Our own child, not yet waited for: pid and group are certain. That it is gone already is fine.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // Waiting may take as long as the kernel cannot kill it.
    apart(move || drop(child.wait()));
    match text {
        Some(text) if !text.trim().is_empty() => Ok(text),
        Some(_) => Err(format!("{program} printed nothing")),
        None => Err(format!("{program} did not return in time and was killed")),
    }
}

/// What a program printed and how it ended, if it has by `deadline`; it is killed otherwise, alone: what it has
/// started meanwhile (a service) may be meant to stay.
pub(crate) fn run(command: &mut Command, deadline: Instant) -> Result<Run, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let ended = wait_child(&mut child, deadline).map_err(|error| format!("{program}: {error}"))?;
    let Some(status) = ended else {
        // Not yet waited for: it is still our own child.
        let _ = child.kill();
        apart(move || drop(child.wait()));
        return Err(format!("{program} did not return in time and was killed"));
    };
    let text = |later: Later<String>| later.by(Instant::now() + AFTER_EXIT).unwrap_or_default();
    Ok(Run { status, stdout: text(stdout), stderr: text(stderr) })
}

/// What became of a program that must not be broken off in the middle.
pub(crate) enum Let {
    /// How it ended, and its standard error.
    Ended(ExitStatus, String),
    /// It has not ended in its time, and goes on as this process.
    GoesOn(u32),
}

/// Runs a program that goes on when its time is over, when this process ends, and when somebody presses Ctrl-C.
pub(crate) fn let_run(command: &mut Command, deadline: Instant) -> Result<Let, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: &dyn std::fmt::Display| format!("cannot run {program}: {error}");
    // A pipe would break with this process, and what writes to it with the pipe.
    let mut heard =
        memfd_create(c"stderr", MFdFlags::MFD_CLOEXEC).map(File::from).map_err(|error| failed(&error))?;
    let told = heard.try_clone().map_err(|error| failed(&error))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told).process_group(0);
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let pid = child.id();
    let Some(status) = wait_child(&mut child, deadline).map_err(|error| failed(&error))? else {
        apart(move || drop(child.wait()));
        return Ok(Let::GoesOn(pid));
    };
    let mut said = Vec::new();
    // What can be read is what there is to tell.
    let _ = heard.rewind().and_then(|()| heard.take(MAX_OUTPUT).read_to_end(&mut said));
    Ok(Let::Ended(status, String::from_utf8_lossy(&said).into_owned()))
}

fn reader(from: Option<impl Read + Send + 'static>) -> Later<String> {
    Later::begin(move || {
        let mut bytes = Vec::new();
        // What came until an error is what there is.
        let _ = from.map(|from| from.take(MAX_OUTPUT).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<String, String> {
        output(Command::new("sh").args(["-c", script]), Instant::now() + limit)
    }

    #[test]
    fn a_program_is_heard_and_one_that_hangs_is_not_waited_for() {
        let long = Duration::from_secs(30);
        assert_eq!(sh("echo well", long).unwrap(), "well\n");
        assert!(sh("exit 3", long).unwrap_err().contains("printed nothing"));
        assert!(output(&mut Command::new("/none"), Instant::now() + long).unwrap_err().contains("/none"));
        let begun = Instant::now();
        // The child of the child holds the pipe.
        let error = sh("echo half; sleep 1000 & sleep 1000", Duration::from_millis(300)).unwrap_err();
        assert!(error.contains("did not return in time") && begun.elapsed() < long / 2, "{error}");
    }

    #[test]
    fn how_a_program_ended_is_told_with_all_that_it_said() {
        let run = |script: &str, limit| run(Command::new("sh").args(["-c", script]), Instant::now() + limit);
        let told = run("echo out; echo err >&2; exit 3", Duration::from_secs(30)).unwrap();
        assert_eq!(
            (told.status.code(), told.stdout.as_str(), told.stderr.as_str()),
            (Some(3), "out\n", "err\n")
        );
        let error = run("exec sleep 1000", Duration::from_millis(100)).err().unwrap();
        assert!(error.contains("did not return in time"), "{error}");
    }

    #[test]
    fn what_must_not_be_broken_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        let script = format!("echo err >&2; sleep 0.3; echo >{}; exit 3", done.display());
        let run = |limit| let_run(Command::new("sh").args(["-c", &script]), Instant::now() + limit).unwrap();
        assert!(matches!(run(Duration::from_secs(30)), Let::Ended(status, said)
            if status.code() == Some(3) && said == "err\n"));
        std::fs::remove_file(&done).unwrap();
        assert!(matches!(run(Duration::from_millis(20)), Let::GoesOn(_)));
        let began = Instant::now();
        while !done.exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "it was broken off");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn work_that_does_not_end_is_left_behind() {
        let soon = || Instant::now() + Duration::from_millis(50);
        let (_held, never) = mpsc::channel::<()>();
        assert!(Later::begin(move || never.recv()).by(soon()).is_none());
        assert_eq!(Later::begin(|| 7).by(Instant::now() + Duration::from_secs(30)), Some(7));
    }
}
