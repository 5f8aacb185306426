//! What all lines together tell: counts for each pod, and a verdict. Pure, and no larger for a larger log.

use std::collections::BTreeMap;

use serde::Serialize;

use super::classify::{Kind, classify};
use super::line::Line;
use crate::commands::doctor::finding::Finding;
use crate::known::Hang;

/// More pods than this are counted and not told apart.
const MOST_SUBJECTS: usize = 1000;
/// The name of those that say no name.
const NAMELESS: &str = "(no id in the line)";
/// The same failure so many times is no slow stop any more: it was tried again, and failed again.
const AGAIN: u64 = 2;

/// The counts so far.
#[derive(Default)]
pub(super) struct Tally {
    lines: u64,
    subjects: BTreeMap<String, Subject>,
    untold: u64,
    hangs: Vec<&'static Hang>,
    names_gvisor: bool,
}

/// One pod or sandbox.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Subject {
    /// `namespace/name`, or its id.
    pub(crate) name: String,
    /// Lines about it.
    pub(crate) times: u64,
    /// When the first was written, in the log's own words.
    pub(crate) first: Option<String>,
    /// And the last.
    pub(crate) last: Option<String>,
    /// How many of which kind.
    pub(crate) kinds: BTreeMap<Kind, u64>,
}

impl Subject {
    /// It was to end, more than once, and no guard has ended it.
    fn is_stuck(&self) -> bool {
        let again = |(kind, times): (&Kind, &u64)| kind.is_strong() && *times >= AGAIN;
        self.kinds.iter().any(again) && !self.kinds.contains_key(&Kind::Guarded)
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// In one line.
    pub(crate) verdict: Finding,
    /// Lines read.
    pub(crate) lines: u64,
    /// The pods, the worst first.
    pub(crate) subjects: Vec<Subject>,
    /// Lines about pods that are too many to tell apart.
    pub(crate) untold: u64,
}

impl Tally {
    /// One more line.
    pub(super) fn take(&mut self, line: &str) {
        self.lines += 1;
        self.names_gvisor |= line.contains("runsc") || line.contains("gvisor");
        let line = Line::parse(line);
        let Some((kind, hang)) = classify(&line.text) else { return };
        if let Some(hang) = hang.filter(|hang| self.hangs.iter().all(|one| one.id != hang.id)) {
            self.hangs.push(hang);
        }
        let name = line.subject.unwrap_or_else(|| NAMELESS.to_owned());
        if self.subjects.len() >= MOST_SUBJECTS && !self.subjects.contains_key(&name) {
            self.untold += 1;
            return;
        }
        let subject = self.subjects.entry(name).or_default();
        subject.times += 1;
        *subject.kinds.entry(kind).or_default() += 1;
        subject.first = subject.first.take().or_else(|| line.time.clone());
        subject.last = line.time.or(subject.last.take());
    }

    /// What it comes to.
    pub(super) fn report(self) -> Report {
        let verdict = self.verdict();
        let mut subjects: Vec<Subject> =
            self.subjects.into_iter().map(|(name, subject)| Subject { name, ..subject }).collect();
        subjects.sort_by_key(|one| std::cmp::Reverse((one.is_stuck(), one.times)));
        Report { verdict, lines: self.lines, subjects, untold: self.untold }
    }

    fn verdict(&self) -> Finding {
        const ABOUT: &str = "logs";
        let lines = self.lines;
        let stuck: Vec<(&String, &Subject)> =
            self.subjects.iter().filter(|(_, one)| one.is_stuck()).collect();
        let ended = self.subjects.values().filter(|one| one.kinds.contains_key(&Kind::Guarded)).count();
        let worst = stuck.iter().max_by_key(|(_, one)| one.times);
        let finding = match worst {
            Some((name, one)) => {
                let what = format!(
                    "this node has the problem: {} of its pods or containers did not end when told to, again and \
                     again; most often {name}, {} lines",
                    stuck.len(),
                    one.times
                );
                let where_now =
                    "runsc-guard ls shows whether they are stuck now, runsc-guard reap --wedged ends them";
                let gvisor = if self.names_gvisor {
                    ""
                } else {
                    "; no line names runsc, so see that they are gVisor's"
                };
                Finding::fail(ABOUT, what, format!("{where_now}{gvisor}"))
            }
            None if ended > 0 => {
                Finding::ok(ABOUT, format!("the guard has ended {ended}; none is stuck ({lines} lines)"))
            }
            None if self.subjects.is_empty() => {
                Finding::ok(ABOUT, format!("nothing of this problem in {lines} lines"))
            }
            None => {
                let what =
                    format!("signs in {lines} lines, none of a pod that failed to end twice in the same way");
                Finding::warn(
                    ABOUT,
                    what,
                    "read a log of several hours; runsc-guard ls shows the present state",
                )
            }
        };
        Finding { hangs: self.hangs.clone(), ..finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    fn id(number: usize) -> String {
        format!("{number:064x}")
    }

    fn stop(number: usize, second: usize) -> String {
        let id = id(number);
        format!(
            r#"time="2026-11-25T22:39:{second:02}Z" level=error msg="StopPodSandbox for \"{id}\" failed" error="rpc error: code = DeadlineExceeded desc = x" runtime=io.containerd.runsc.v1"#
        )
    }

    fn report(lines: &[String]) -> Report {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take(line));
        tally.report()
    }

    #[test]
    fn the_same_failure_twice_is_the_problem() {
        let once = report(&[stop(1, 1), stop(2, 2), "nothing".into()]);
        assert_eq!((once.verdict.level, once.lines, once.subjects.len()), (Level::Warn, 3, 2));
        let twice = report(&[stop(1, 1), stop(2, 2), stop(2, 7)]);
        assert_eq!(twice.verdict.level, Level::Fail);
        assert!(twice.verdict.what.contains(&format!("{}, 2 lines", id(2))), "{}", twice.verdict.what);
        let worst = &twice.subjects[0];
        assert_eq!((worst.name.clone(), worst.times), (id(2), 2));
        assert_eq!(worst.first.as_deref(), Some("2026-11-25T22:39:02Z"));
        assert_eq!(worst.last.as_deref(), Some("2026-11-25T22:39:07Z"));
        assert!(!twice.verdict.remedy.unwrap().contains("no line names runsc"));
    }

    #[test]
    fn a_quiet_log_is_fine() {
        assert_eq!(report(&["I0610 all is well".to_owned()]).verdict.level, Level::Ok);
        assert_eq!(report(&[]).verdict.level, Level::Ok);
    }

    #[test]
    fn weak_signs_alone_are_no_verdict() {
        let closed = format!(r#"msg="collecting metrics for {}" error="ttrpc: closed""#, id(1));
        assert_eq!(report(&[closed.clone(), closed.clone(), closed]).verdict.level, Level::Warn);
    }

    #[test]
    fn what_the_guard_has_ended_is_not_stuck() {
        let ended = format!(r#"msg="wedged: x; the guard ends the sandbox now" sandbox={}"#, id(1));
        let report = report(&[stop(1, 1), stop(1, 3), ended]);
        assert_eq!(report.verdict.level, Level::Ok);
        assert!(report.verdict.what.contains("the guard has ended 1"), "{}", report.verdict.what);
    }

    #[test]
    fn a_hang_that_gvisor_tells_of_is_named() {
        let line = "Systrap task goroutine has been waiting on ThreadContext.State futex too long".to_owned();
        let report = report(&[line.clone(), line]);
        assert_eq!(report.verdict.level, Level::Fail);
        assert_eq!(
            report.verdict.hangs.iter().map(|hang| hang.id.as_str()).collect::<Vec<_>>(),
            ["stuck-stub"]
        );
        assert!(report.verdict.remedy.unwrap().contains("no line names runsc"));
    }

    #[test]
    fn pods_beyond_a_thousand_are_counted_together() {
        let mut lines: Vec<String> = (0..MOST_SUBJECTS + 5).map(|number| stop(number, 1)).collect();
        lines.push(stop(3, 2));
        let report = report(&lines);
        assert_eq!((report.subjects.len(), report.untold), (MOST_SUBJECTS, 5));
        assert_eq!(report.subjects[0].name, id(3));
    }
}
