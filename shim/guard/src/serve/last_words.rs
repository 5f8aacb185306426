//! What whoever owns a pod is told of its end: one line in each container's termination message, before the container is
//! ended, so that it stands there when the exit is told. Only the guard's own words; nothing of the guest's.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use runsc_guard_core::io::Cause;
use runsc_guard_core::view::ContainerView;
use runsc_guard_sandbox::resources::termination_log;

/// How long the end waits for it: a kubelet's folder may lie on a disk that hangs.
const LIMIT: Duration = Duration::from_millis(100);
/// Reading a `config.json` and writing a line takes little stack.
const STACK: usize = 128 * 1024;

/// The line, and for which containers.
#[derive(Clone, Debug)]
pub(crate) struct LastWords {
    line: String,
    bundles: Vec<PathBuf>,
}

impl LastWords {
    /// For those of these containers that have not ended by themselves.
    pub(crate) fn of(cause: &Cause, waited: Duration, containers: &[ContainerView]) -> Self {
        let alive = containers.iter().filter(|container| container.exit.is_none());
        Self {
            line: line(cause, waited, SystemTime::now()),
            bundles: alive.map(|container| container.bundle.clone().into()).collect(),
        }
    }

    /// Writes it, in a thread that is left behind where it hangs.
    pub(crate) fn say(&self) {
        let (words, (done, said)) = (self.clone(), mpsc::channel());
        let write = move || {
            for bundle in &words.bundles {
                if let Err(error) = termination_log::write(bundle, &words.line) {
                    log::info!("no termination message for {}: {error}", bundle.display());
                }
            }
            let _ = done.send(());
        };
        let begun = thread::Builder::new().name("words".into()).stack_size(STACK).spawn(write);
        if begun.is_err() || said.recv_timeout(LIMIT).is_err() {
            log::info!("the termination messages were not written within {LIMIT:?}");
        }
    }
}

/// What was not answered, since when, and by whom it was ended.
fn line(cause: &Cause, waited: Duration, now: SystemTime) -> String {
    let what = match cause {
        Cause::KillWithoutExit { acknowledged: true, .. } => "SIGKILL was acknowledged and ended nothing",
        Cause::KillWithoutExit { acknowledged: false, .. } => "SIGKILL was not answered",
        Cause::DeleteStuck(_) => "Delete had no effect",
        Cause::CreateStuck(_) => "Create did not return",
        Cause::SentryLingers => "its first container had ended and its kernel had not",
        Cause::RealShimDied => "its shim had died",
        Cause::Reaped => "an operator asked for its end (runsc-guard reap)",
        Cause::Silent => "it answered nothing, and watchdog is set to kill",
    };
    let since = humantime::format_rfc3339_seconds(now.checked_sub(waited).unwrap_or(now));
    let waited = Duration::from_secs(waited.as_secs());
    format!("runsc-guard ended this pod's gVisor sandbox: {what}, since {since} ({waited:?})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_core::exit::Exit;
    use runsc_guard_core::io::{ProcessId, Status};

    #[test]
    fn a_line_says_what_was_not_answered_and_since_when() {
        let cause = Cause::KillWithoutExit { process: ProcessId::init(&"f".repeat(76)), acknowledged: false };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_824_010);
        let told = line(&cause, Duration::from_secs(10), now);
        assert_eq!(
            told,
            "runsc-guard ended this pod's gVisor sandbox: SIGKILL was not answered, since 2026-11-28T00:00:00Z (10s)"
        );
        assert!(line(&Cause::Silent, Duration::MAX, now).len() <= termination_log::LIMIT);
    }

    #[test]
    fn who_has_ended_by_itself_is_told_nothing() {
        let container = |bundle: &str, exit| ContainerView {
            id: bundle.to_owned(),
            bundle: bundle.to_owned(),
            pid: 7,
            status: Status::Running,
            exit,
            execs: 0,
        };
        let all = [container("/alive", None), container("/ended", Some(Exit::killed(7, 1)))];
        let words = LastWords::of(&Cause::Silent, Duration::ZERO, &all);
        assert_eq!(words.bundles, [PathBuf::from("/alive")]);
    }
}
