//! The sentry's own stacks: `runsc debug --stacks`, which takes no lock of the sentry's kernel and so still works when
//! that one is deadlocked. It is asked only where /proc shows that the sentry can run.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::diagnostics::bounded_command::{self, From, Heard};
use crate::processes::process::{Process, Role};
use crate::resources::cgroup;

/// The most of a dump that is kept.
pub const LIMIT: usize = 256 * 1024;
/// How long runsc may take to say its version. A guard that ends waits no longer than 200 ms for its last report.
pub const NAMED: Duration = Duration::from_millis(150);
/// `runsc --version` prints two lines.
const VERSION_LIMIT: usize = 4096;
/// What stands before the stacks in the command's log, with an end of line after it.
const BEGINS: &str = "*** Stack dump ***";

/// The text of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// The goroutines, in Go's own form. Empty if there are none.
    pub text: String,
    /// Whether there was more than is kept, or the end never came.
    pub truncated: bool,
    /// Why there is no text, or no end, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Dump {
    /// None, and why.
    pub fn none(note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::default() }
    }

    /// A dump of which this came: bounded, and with nothing in it that could move a terminal's cursor or swell when
    /// it is written down.
    pub fn of(bytes: &[u8], whole: bool) -> Self {
        let kept = &bytes[..bytes.len().min(LIMIT)];
        let plain = |one: char| if one.is_control() && !matches!(one, '\n' | '\t') { '?' } else { one };
        let text: String = String::from_utf8_lossy(kept).chars().map(plain).collect();
        Self {
            text: text.trim_matches('\n').to_owned(),
            truncated: !whole || kept.len() < bytes.len(),
            note: String::new(),
        }
    }
}

/// What `runsc debug` has told.
#[derive(Debug, Default)]
pub struct Told {
    /// The sentry's stacks.
    pub stacks: Dump,
    /// The version of runsc; empty if it was not told.
    pub version: String,
}

/// Asks for the stacks of the sentry that is among these processes until `deadline`, and then kills who asks. One that
/// cannot answer is not asked, and then the version is not told either.
pub fn ask(binary: &Path, runsc_root: &Path, id: &str, found: &[Process], deadline: Instant) -> Told {
    if let Some(why) = cannot_answer(found) {
        return Told { stacks: Dump::none(why), ..Told::default() };
    }
    let mut root = OsString::from("--root=");
    root.push(runsc_root);
    let mut command = Command::new(binary);
    // Without `--log`: what it logs is the answer, and comes on standard error.
    command.arg(root).args(["--alsologtostderr", "debug", "--stacks", id]);
    match bounded_command::ask(&mut command, From::Stderr, LIMIT + VERSION_LIMIT, deadline) {
        Ok(heard) => told(&heard),
        Err(error) => {
            Told { stacks: Dump::none(format!("{}: {error}", binary.display())), ..Told::default() }
        }
    }
}

/// Why a sentry would not answer, as far as that can be seen from outside.
fn cannot_answer(found: &[Process]) -> Option<String> {
    let Some(sentry) = found.iter().find(|process| process.role == Role::Sentry) else {
        return Some("there was no sentry".to_owned());
    };
    let pid = sentry.identity.pid;
    if sentry.is_stopped() {
        return Some(format!("not asked: the sentry {pid} is stopped"));
    }
    let frozen = cgroup::freezable(pid).iter().any(|folder| cgroup::is_frozen(folder));
    frozen.then(|| format!("not asked: the sentry {pid} is frozen"))
}

/// The version of `binary`, asked until `deadline`; empty if it is not told. It takes as much of a processor as all else
/// that ends a sandbox.
pub fn version(binary: &Path, deadline: Instant) -> String {
    let heard =
        bounded_command::ask(Command::new(binary).arg("--version"), From::Stdout, VERSION_LIMIT, deadline);
    let text = heard.map(|heard| String::from_utf8_lossy(&heard.text).into_owned()).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("runsc version ")).unwrap_or_default().trim().to_owned()
}

fn told(heard: &Heard) -> Told {
    let text = String::from_utf8_lossy(&heard.text);
    let version = text.lines().find_map(|line| line.split_once("] Version ")?.1.split(',').next());
    let version = version.unwrap_or_default().to_owned();
    let stacks = match text.split_once(BEGINS) {
        Some((_, stacks)) => Dump::of(stacks.as_bytes(), heard.whole),
        None if heard.whole => Dump::none(last_line(&text)),
        None => Dump::none("the sentry did not answer in time"),
    };
    Told { stacks, version }
}

/// What a command that failed says last.
fn last_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or("runsc debug said nothing");
    last.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::Identity;
    use crate::testing::stand_in as runsc;

    fn sentry(state: char) -> Process {
        let identity = Identity::me().unwrap();
        let (comm, argv) = ("exe".into(), Vec::new());
        Process { identity, parent: 1, comm, state, role: Role::Sentry, argv }
    }

    fn asked(script: &str, found: &[Process], within: Duration) -> (Told, Duration) {
        let (_folder, binary) = runsc(script);
        let begun = Instant::now();
        (ask(&binary, Path::new("/r/ns"), "c1", found, begun + within), begun.elapsed())
    }

    const SAYS: &str = r#"test "$*" = "--root=/r/ns --alsologtostderr debug --stacks c1" || exit 1
echo 'I1125 22:44:09.656692   16817 cli.go:276] Version release-20260817.0, go1.26.8, amd64, PID 1' >&2
echo 'I1125 22:44:09.657884   16817 util.go:94]      *** Stack dump ***' >&2
printf 'goroutine 24 [running]:\nmain.main()\n\tmain.go:1 +0x1\033[31m\n\n' >&2"#;

    #[test]
    fn stacks_and_version_are_taken_from_what_runsc_logs() {
        let (told, _) = asked(SAYS, &[sentry('S')], Duration::from_secs(10));
        assert_eq!(told.version, "release-20260817.0");
        assert_eq!(told.stacks.text, "goroutine 24 [running]:\nmain.main()\n\tmain.go:1 +0x1?[31m");
        assert!(!told.stacks.truncated);
    }

    #[test]
    fn what_came_before_the_deadline_is_kept_and_called_incomplete() {
        let (told, took) =
            asked(&format!("{SAYS}\nexec sleep 61"), &[sentry('S')], Duration::from_millis(700));
        assert!(told.stacks.truncated && told.stacks.text.starts_with("goroutine 24"), "{told:?}");
        let (silent, _) = asked("exec sleep 62", &[sentry('S')], Duration::from_millis(100));
        assert_eq!(silent.stacks, Dump::none("the sentry did not answer in time"));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn one_that_cannot_answer_is_not_asked() {
        for (found, why) in [(vec![sentry('T')], "is stopped"), (Vec::new(), "there was no sentry")] {
            let (told, _) = asked(SAYS, &found, Duration::from_secs(10));
            assert!(told.stacks.note.contains(why) && told.stacks.text.is_empty(), "{told:?}");
            assert_eq!(told.version, "");
        }
        let (failed, _) = asked(
            "echo 'loading sandbox: no such file' >&2; exit 128",
            &[sentry('S')],
            Duration::from_secs(9),
        );
        assert_eq!(failed.stacks.note, "loading sandbox: no such file");
    }

    #[test]
    fn the_version_is_what_runsc_says_first() {
        let script = "test \"$*\" = --version && printf 'runsc version release-1\\nspec: 1\\n'";
        let (_folder, binary) = runsc(script);
        assert_eq!(version(&binary, Instant::now() + Duration::from_secs(10)), "release-1");
    }

    #[test]
    fn a_dump_is_bounded_and_says_so() {
        let dump = Dump::of(&vec![b'x'; LIMIT + 1], true);
        assert_eq!((dump.text.len(), dump.truncated), (LIMIT, true));
    }
}
