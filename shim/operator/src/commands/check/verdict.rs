//! From what was seen to a line and a status. Pure.
//!
//! A problem is what does not end by itself. A sandbox that hangs under a guard that lives is none: the guard ends it as
//! soon as somebody wants its end, and until then it is its pod's problem and not the node's.

use crate::paint::plain;
use crate::screen::short_id;
use crate::survey::judge::is_keeper_held;
use crate::survey::model::{Guard, Sandbox, State};

/// Whether the guard stands before the node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// It does.
    Yes,
    /// It does not, and why.
    No(String),
    /// It cannot be said, and why.
    Unknown(String),
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gravity {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// One line, whose first 80 bytes tell what matters.
    pub(super) line: String,
    gravity: Gravity,
}

/// What is the matter with a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The kernel keeps it.
    Unkillable,
    /// It hangs, and no guard is there that could end it.
    Stuck,
    /// Who started it is dead.
    Orphaned,
    /// It cannot be told whether who started it is dead.
    Unknown,
}

impl Problem {
    const ALL: [Self; 4] = [Self::Unkillable, Self::Stuck, Self::Orphaned, Self::Unknown];

    fn word(self) -> &'static str {
        match self {
            Self::Unkillable => "unkillable",
            Self::Stuck => "stuck",
            Self::Orphaned => "orphaned",
            Self::Unknown => "unknown",
        }
    }
}

/// What does not end by itself.
pub(super) fn problem(sandbox: &Sandbox) -> Option<Problem> {
    let is_guarded = matches!(sandbox.found.guard, Guard::Says(..)) && !is_keeper_held(&sandbox.found);
    match sandbox.state {
        State::Unkillable => Some(Problem::Unkillable),
        State::Orphaned => Some(Problem::Orphaned),
        State::Unknown => Some(Problem::Unknown),
        State::Wedged if !is_guarded => Some(Problem::Stuck),
        _ => None,
    }
}

/// Those of the second look; a problem of it that the first did not have is none yet.
pub(super) fn confirmed(first: &[Sandbox], second: Vec<Sandbox>) -> Vec<Sandbox> {
    let before = |one: &Sandbox| first.iter().find(|other| other.found.id == one.found.id).and_then(problem);
    second.into_iter().filter(|one| problem(one).is_none() || before(one) == problem(one)).collect()
}

impl Verdict {
    /// The worst comes first.
    pub(super) fn of(sandboxes: &Result<Vec<Sandbox>, String>, guard: &Installed) -> Self {
        let sandboxes = match sandboxes {
            Ok(sandboxes) => sandboxes,
            Err(why) => return Self::new(Gravity::Unknown, format!("sandboxes cannot be looked at: {why}")),
        };
        let count = |wanted: Problem| sandboxes.iter().filter(|one| problem(one) == Some(wanted)).count();
        let counts = Problem::ALL.map(|one| (one, count(one)));
        let worst = counts.iter().find(|(_, count)| *count > 0).map(|(one, _)| *one);
        match (worst, guard) {
            (Some(worst), guard) => {
                let counts = counts.iter().filter(|(_, count)| *count > 0);
                let counts: Vec<String> =
                    counts.map(|(one, count)| format!("{count} {}", one.word())).collect();
                let first = sandboxes.iter().find(|one| problem(one) == Some(worst)).map(describe);
                let guard = if let Installed::No(why) = guard { format!("; {why}") } else { String::new() };
                let line = format!("{}: {}{guard}", counts.join(", "), first.unwrap_or_default());
                let gravity = match worst {
                    Problem::Unkillable | Problem::Stuck => Gravity::Critical,
                    Problem::Orphaned => Gravity::Warning,
                    Problem::Unknown => Gravity::Unknown,
                };
                Self::new(gravity, line)
            }
            (None, Installed::No(why)) => Self::new(Gravity::Warning, format!("guard missing: {why}")),
            (None, Installed::Unknown(why)) => Self::new(Gravity::Unknown, why.clone()),
            (None, Installed::Yes) => {
                let line = format!("no sandbox of {} is stuck, and the guard is there", sandboxes.len());
                Self::new(Gravity::Ok, line)
            }
        }
    }

    fn new(gravity: Gravity, line: String) -> Self {
        Self { line: plain(&line), gravity }
    }

    /// node-problem-detector knows 0, 1 and everything else; Nagios four.
    pub(super) fn status(&self, nagios: bool) -> u8 {
        match (self.gravity, nagios) {
            (Gravity::Ok, _) => 0,
            (Gravity::Warning, _) | (Gravity::Critical, false) => 1,
            (Gravity::Critical, true) | (Gravity::Unknown, false) => 2,
            (Gravity::Unknown, true) => 3,
        }
    }
}

/// Its pod or namespace, its id, and by what it is known.
fn describe(sandbox: &Sandbox) -> String {
    let (found, pod) = (&sandbox.found, sandbox.pod_name());
    let name = if pod == "-" { found.namespace.clone() } else { pod };
    let sign = sandbox.signs.first().map(|sign| format!(" ({})", sign.what)).unwrap_or_default();
    format!("{name} {}{sign}", short_id(&found.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::Word;
    use crate::survey::model::tests::sandbox;

    fn verdict(sandboxes: &[(&str, State)], guard: &Installed) -> (String, [u8; 2]) {
        let sandboxes = sandboxes.iter().map(|(id, state)| sandbox(id, *state)).collect();
        let verdict = Verdict::of(&Ok(sandboxes), guard);
        (verdict.line.clone(), [verdict.status(false), verdict.status(true)])
    }

    #[test]
    fn the_worst_is_told_first_and_within_eighty_bytes() {
        let all = [
            ("a", State::Running),
            ("b", State::Orphaned),
            ("c", State::Wedged),
            ("d", State::Unkillable),
            ("e", State::Wedged),
        ];
        let (line, statuses) = verdict(&all, &Installed::Yes);
        assert!(line.starts_with("1 unkillable, 2 stuck, 1 orphaned: ") && line.contains(" d"), "{line}");
        assert_eq!(statuses, [1, 2]);
        assert_eq!(verdict(&all[..2], &Installed::Yes).1, [1, 1], "what is orphaned does no harm yet");
        let (line, statuses) = verdict(&all[..1], &Installed::Yes);
        assert_eq!((line.as_str(), statuses), ("no sandbox of 1 is stuck, and the guard is there", [0, 0]));
    }

    #[test]
    fn what_cannot_be_seen_is_no_problem_and_not_ok() {
        let unseen = Verdict::of(&Err("no answer within 4s".into()), &Installed::Yes);
        assert_eq!([unseen.status(false), unseen.status(true)], [2, 3]);
        let (line, statuses) = verdict(&[("a", State::Running), ("b", State::Unknown)], &Installed::Yes);
        assert!(line.starts_with("1 unknown: ") && statuses == [2, 3], "{line}");
        let silent = Installed::Unknown("containerd does not answer".into());
        assert_eq!(verdict(&[("a", State::Running)], &silent).1, [2, 3]);
        assert_eq!(verdict(&[("a", State::Wedged)], &silent).1, [1, 2], "a problem that is seen is one");
        let missing = Installed::No("no handler".into());
        assert_eq!(verdict(&[], &missing), ("guard missing: no handler".to_owned(), [1, 1]));
        assert!(verdict(&[("a", State::Wedged)], &missing).0.ends_with("; no handler"));
    }

    #[test]
    fn what_a_living_guard_keeps_is_its_to_end() {
        let mut one = sandbox("a", State::Wedged);
        let task = one.found.real_shims[0].clone();
        one.found.guard = Guard::Says(task.clone(), Box::<Word>::default());
        assert_eq!(problem(&one), None);
        one.found.guard = Guard::Silent(task.clone(), String::new());
        assert_eq!(problem(&one), Some(Problem::Stuck), "a guard that does not hear ends nothing");
        let mut stopped = task;
        stopped.state = 'T';
        one.found.guard = Guard::Says(stopped, Box::<Word>::default());
        assert_eq!(problem(&one), Some(Problem::Stuck));
    }

    #[test]
    fn a_problem_is_one_at_two_looks() {
        let first =
            [sandbox("a", State::Wedged), sandbox("b", State::Running), sandbox("c", State::Orphaned)];
        let second =
            vec![sandbox("a", State::Wedged), sandbox("b", State::Wedged), sandbox("c", State::Ended)];
        let confirmed = confirmed(&first, second);
        let ids: Vec<&str> = confirmed.iter().map(|one| one.found.id.as_str()).collect();
        assert_eq!(ids, ["a", "c"]);
        assert_eq!(problem(&confirmed[1]), None);
    }
}
