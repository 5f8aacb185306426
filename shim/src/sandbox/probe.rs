//! Whether a sandbox answers: one bounded `runsc state`.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::child::{self, From};

/// `runsc state` prints a handful of keys.
const ANSWER_LIMIT: usize = 64 * 1024;

#[derive(Deserialize)]
struct Answer {
    id: String,
    status: String,
}

/// What `runsc state` says within `timeout` that this container is: `running`, `paused`, ... It asks the sentry,
/// so a wedged one gives none; then the command is killed with all that it started. A dead sentry is not asked:
/// that is `stopped`. An error if the command could not be run, which says nothing of the sentry.
pub fn probe(binary: &Path, runsc_root: &Path, id: &str, timeout: Duration) -> io::Result<Option<String>> {
    let mut root = OsString::from("--root=");
    root.push(runsc_root);
    let mut command = Command::new(binary);
    command.arg(root).args(["state", id]);
    let heard = child::ask(&mut command, From::Stdout, ANSWER_LIMIT, Instant::now() + timeout)?;
    let answer = heard.whole.then(|| serde_json::from_slice::<Answer>(&heard.text).ok()).flatten();
    Ok(answer.filter(|answer| answer.id == id).map(|answer| answer.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::PidFd;
    use crate::sandbox::identity::Identity;
    use crate::sandbox::stand_in as runsc;
    use std::fs;

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
