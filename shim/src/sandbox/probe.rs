//! Whether a sandbox answers: one bounded `runsc state`.
//!
//! The guard's server reaps every child, so the exit status may be taken by then. The answer is therefore what
//! stands on standard output, not how the command ended.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::identity::Identity;
use super::procfs::Stat;
use super::teardown::kill_tree;
use crate::kernel::{PidFd, wait_readable};

/// `runsc state` prints a handful of keys.
const ANSWER_LIMIT: usize = 64 * 1024;
/// How long a killed command may need to die.
const KILLED_WITHIN: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Answer {
    id: String,
    status: String,
}

/// What `runsc state` says within `timeout` that this container is: `running`, `paused`, ... It asks the sentry,
/// so a wedged one gives none; then the command is killed with all that it started. A dead sentry is not asked:
/// that is `stopped`. An error if the command could not be run, which says nothing of the sentry.
pub fn probe(binary: &Path, runsc_root: &Path, id: &str, timeout: Duration) -> io::Result<Option<String>> {
    let deadline = Instant::now() + timeout;
    let mut root = OsString::from("--root=");
    root.push(runsc_root);
    let mut command = Command::new(binary);
    command.arg(root).args(["state", id]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let fd = identity_of(&child);
    let answer = child.stdout.take().and_then(|stdout| read_until_end(stdout, deadline));
    end(child, fd, deadline);
    let answer = answer.and_then(|answer| serde_json::from_slice::<Answer>(&answer).ok());
    Ok(answer.filter(|answer| answer.id == id).map(|answer| answer.status))
}

/// Sees to it that the command ends, and reaps it unless the server has. One that SIGKILL does not end is left
/// to the server.
fn end(mut child: Child, process: Option<(Identity, PidFd)>, deadline: Instant) {
    if let Some((identity, fd)) = process
        && !fd.wait(deadline)
    {
        kill_tree(identity);
        if !fd.wait(Instant::now() + KILLED_WITHIN) {
            return;
        }
    }
    let _ = child.wait();
}

/// Certain to be our child: one that has ended, was reaped and replaced by a stranger has another parent.
fn identity_of(child: &Child) -> Option<(Identity, PidFd)> {
    let stat = Stat::of(i32::try_from(child.id()).ok()?).ok()?;
    let ours = u32::try_from(stat.parent) == Ok(std::process::id());
    Some((stat.identity, stat.identity.open().ok().filter(|_| ours)?))
}

/// All that is written until the other end is closed, or none if that does not happen in time.
fn read_until_end(stdout: ChildStdout, deadline: Instant) -> Option<Vec<u8>> {
    let mut file = fs::File::from(std::os::fd::OwnedFd::from(stdout));
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while text.len() < ANSWER_LIMIT && wait_readable(file.as_fd(), deadline).ok()? {
        match file.read(&mut buffer).ok()? {
            0 => return Some(text),
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn runsc(script: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runsc");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    fn asked(script: &str) -> (Option<String>, Duration) {
        let (_folder, binary) = runsc(script);
        let start = Instant::now();
        (probe(&binary, Path::new("/r/ns"), "c1", Duration::from_millis(700)).unwrap(), start.elapsed())
    }

    #[test]
    fn an_answer_is_json_about_the_container() {
        let (status, _) =
            asked(r#"test "$*" = "--root=/r/ns state c1" && echo '{"id":"c1","status":"running"}'"#);
        assert_eq!(status.as_deref(), Some("running"));
        assert_eq!(asked(r#"echo '{"id":"c2","status":"running"}'"#).0, None);
        assert_eq!(asked("echo 'loading container: file does not exist' >&2; exit 128").0, None);
        assert_eq!(asked("").0, None);
        let absent = Path::new("/nonexistent/runsc");
        assert!(probe(absent, Path::new("/r"), "c1", Duration::from_secs(1)).is_err());
    }

    #[test]
    fn silence_ends_at_the_timeout_with_all_that_was_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let (answered, took) = asked(&format!("sleep 61 & echo $! > {}; sleep 62; :", pids.display()));
        assert!(
            answered.is_none() && took >= Duration::from_millis(700) && took < Duration::from_secs(3),
            "{took:?}"
        );
        let background = fs::read_to_string(pids).unwrap().trim().parse().unwrap();
        let dead = |fd: PidFd| fd.wait(Instant::now() + Duration::from_secs(2));
        let left = Identity::of(background).and_then(|identity| identity.open());
        assert!(left.is_err() || left.is_ok_and(dead));
    }

    #[test]
    fn a_command_that_answers_and_does_not_end_is_ended() {
        let (answered, took) = asked(r#"echo '{"id":"c1","status":"running"}'; exec >&-; sleep 63; :"#);
        assert!(answered.is_some() && took < Duration::from_secs(3), "{took:?}");
    }
}
