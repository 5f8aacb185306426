//! From what was found to a state. Pure, and careful with the word "wedged": it is said only of what cannot run
//! (stopped, frozen), or has owed an answer for so long that nobody healthy would. A thread in state D alone is
//! no sign, a slow disk does that.

use runsc_guard_proto::guard::{Method, Progress};
use runsc_guard_sandbox::processes::process::Role;

use crate::paint::span;
use crate::survey::model::{Found, Guard, Sandbox, Sign, State, Task, Waiting, Word};

/// How long the real shim may owe an answer, a SIGKILL its exit, or a short runsc command its end.
const OVERDUE_MS: u64 = 10_000;
/// How long a Create may take: a slow rootfs mount, with the real shim's lock held.
const CREATE_MS: u64 = 90_000;
/// How soon after its shim's start a Create begins.
const YOUNG_MS: u64 = 5_000;
/// The commands that never take long in a sandbox that answers. Not among them: `wait`, `checkpoint`, `restore`,
/// and what people run by hand without detaching.
const SHORT: [&str; 9] = ["state", "kill", "delete", "events", "ps", "start", "pause", "resume", "update"];

/// The judgement.
pub(crate) fn judge(found: Found) -> Sandbox {
    let (state, signs) = state(&found);
    Sandbox { state, signs, found }
}

fn state(found: &Found) -> (State, Vec<Sign>) {
    if !found.proved {
        let what = "no shim above it and no file of runsc confirms that it is a sandbox";
        return (State::Unproven, vec![sign(what, None)]);
    }
    if let Some(told) = found.guard.word().and_then(by_word) {
        return told;
    }
    let held = held(found);
    if let Guard::Unknown(why) = &found.guard {
        let what = format!("whether anybody keeps it cannot be told: {why}");
        return (State::Unknown, [vec![sign(&what, None)], held].concat());
    }
    if found.killed {
        let mut signs = vec![sign("SIGKILL was sent and the kernel keeps the sentry alive", None)];
        signs.extend(held);
        return (State::Unkillable, signs);
    }
    if let Some(what) = orphaned(found) {
        return (State::Orphaned, [vec![sign(&what, None)], held].concat());
    }
    if !held.is_empty() {
        return (State::Wedged, [held, owed(found)].concat());
    }
    let owed = owed(found);
    if !owed.is_empty() {
        return (State::Wedged, owed);
    }
    let creates = found.others.iter().any(|task| is_runsc(task, "create"));
    match (&found.sentry, found.status.as_deref()) {
        (None, _) if creates => (State::Starting, Vec::new()),
        (None, None) if is_young(found) => (State::Starting, Vec::new()),
        (None, _) => (
            State::Ended,
            vec![sign("the sentry has exited; containerd has not collected the exit status", None)],
        ),
        (Some(_), Some("paused")) => (State::Paused, Vec::new()),
        (Some(_), Some("creating" | "created")) => (State::Starting, Vec::new()),
        (Some(_), _) => (State::Running, silence(found)),
    }
}

/// What its guard says, where that settles it.
fn by_word(word: &Word) -> Option<(State, Vec<Sign>)> {
    let left = || word.left.iter().map(|left| sign(left, None));
    let why = word.sign.clone().into_iter();
    match word.progress {
        // A guard always says where it stands.
        Progress::PROGRESS_UNSPECIFIED | Progress::PROGRESS_SERVING => None,
        Progress::PROGRESS_UNKILLABLE => Some((State::Unkillable, why.chain(left()).collect())),
        Progress::PROGRESS_ENDED => {
            let left = left().map(|left| sign(&format!("left behind: {}", left.what), None));
            Some((State::Ended, why.chain(left).collect()))
        }
        Progress::PROGRESS_CLOSING if word.left.is_empty() => {
            Some((State::Ending, vec![sign("closing", None)]))
        }
        Progress::PROGRESS_CLOSING => Some((State::Unkillable, left().collect())),
        Progress::PROGRESS_ESCALATING => {
            let step = sign(&format!("step: {}", word.stage), word.escalating_ms);
            Some((State::Ending, why.chain([step]).collect()))
        }
    }
}

/// Why nobody manages it, if that is so.
fn orphaned(found: &Found) -> Option<String> {
    let nobody = found.real_shims.is_empty() && found.unplaced.is_empty();
    match &found.guard {
        Guard::Dead if nobody => Some("its guard and its real shim are dead".to_owned()),
        Guard::Dead => Some("its guard is dead, and its real shim has no other client".to_owned()),
        Guard::None if nobody && found.managed && found.sentry.is_none() && found.others.is_empty() => {
            Some("no process is left, but files of runsc's are".to_owned())
        }
        Guard::Says(..) | Guard::Silent(..) if found.forgotten => {
            Some("containerd has forgotten it: its bundles are gone".to_owned())
        }
        Guard::None if nobody && found.managed => Some("its real shim is dead".to_owned()),
        _ => None,
    }
}

/// Whether its guard or a real shim cannot run before somebody lets it.
pub(crate) fn is_keeper_held(found: &Found) -> bool {
    found.real_shims.iter().chain(found.guard.task()).any(Task::is_held)
}

/// What cannot run.
fn held(found: &Found) -> Vec<Sign> {
    let sentry = found.sentry.iter().map(|task| (task, "sentry"));
    let guard = found.guard.task().into_iter().map(|task| (task, "guard"));
    let shims = found.real_shims.iter().map(|task| (task, "real shim"));
    let all = sentry.chain(shims).chain(guard);
    all.filter(|(task, _)| task.is_held()).map(|(task, name)| sign(&task.hold(name), None)).collect()
}

/// What has been owed for too long, unless a Create holds everything up: that is slow, not stuck.
fn owed(found: &Found) -> Vec<Sign> {
    let word = found.guard.word();
    let creating = |clock: &&Waiting| clock.asked == Method::METHOD_CREATE && clock.waited_ms < CREATE_MS;
    let creates = |task: &Task| is_runsc(task, "create") && task.age_ms < CREATE_MS;
    if found.others.iter().any(creates)
        || word.is_some_and(|word| word.clocks.iter().any(|one| creating(&one)))
    {
        return Vec::new();
    }
    let overdue = word.and_then(|word| word.overdue.as_ref()).filter(|one| one.waited_ms >= OVERDUE_MS);
    let overdue = overdue
        .map(|one| sign(&format!("the real shim has not answered {}", one.method), Some(one.waited_ms)));
    let unanswered = unanswered(found).filter(|_| !found.answers).map(|(method, ago)| {
        sign(
            &format!("the real shim did not answer {method}; its last answer to any request was long ago"),
            Some(ago),
        )
    });
    let clocks = word.into_iter().flat_map(|word| &word.clocks).filter(|one| one.waited_ms >= OVERDUE_MS);
    let clocks = clocks.map(|one| {
        let Waiting { method, about, .. } = one;
        sign(&format!("{method} of {about} has had no effect"), Some(one.waited_ms))
    });
    let hung = found.others.iter().filter(|task| is_hung(task)).map(|task| {
        sign(&format!("`{}` {} does not return", task.role, task.identity.pid), Some(task.age_ms))
    });
    overdue.into_iter().chain(unanswered).chain(clocks).chain(hung).collect()
}

/// The query that the real shim did not answer in its time, and for how long it has answered nothing.
fn unanswered(found: &Found) -> Option<(&String, u64)> {
    let word = found.guard.word()?;
    word.unanswered.as_ref().zip(word.answered_ms_ago).filter(|(_, ago)| *ago >= OVERDUE_MS)
}

/// Whether its sentry ought to be asked before it is judged. The real shim is asked so rarely, most being answered by the
/// guard, that a single `runsc state` which was slow would make a wedge of it.
pub(crate) fn is_doubtful(found: &Found) -> bool {
    unanswered(found).is_some() && held(found).is_empty()
}

fn is_hung(task: &Task) -> bool {
    let limit = |command: &str| match command {
        "create" => Some(CREATE_MS),
        command if SHORT.contains(&command) => Some(OVERDUE_MS),
        _ => None,
    };
    matches!(&task.role, Role::Runsc(command) if limit(command).is_some_and(|limit| task.age_ms >= limit))
}

/// Its shim or guard has only just been started: Create comes next.
fn is_young(found: &Found) -> bool {
    let keepers = found.real_shims.iter().chain(found.guard.task());
    keepers.map(|task| task.age_ms).max().is_some_and(|age| age < YOUNG_MS)
}

fn is_runsc(task: &Task, subcommand: &str) -> bool {
    matches!(&task.role, Role::Runsc(command) if command == subcommand)
}

/// A guard that lives and says nothing: worth a word, no verdict. It may be starved.
fn silence(found: &Found) -> Vec<Sign> {
    match &found.guard {
        Guard::Silent(task, why) => vec![sign(&format!("guard {}: {why}", task.identity.pid), None)],
        _ => Vec::new(),
    }
}

fn sign(what: &str, for_ms: Option<u64>) -> Sign {
    Sign { what: what.to_owned(), for_ms }
}

impl Sign {
    /// In a line.
    pub(crate) fn line(&self) -> String {
        match self.for_ms {
            Some(ms) => format!("{} ({})", self.what, span(std::time::Duration::from_millis(ms))),
            None => self.what.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
