//! One line of containerd's log for whatever is worth it, and for each step of an escalation, with its duration and how
//! much it left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::Level;
use runsc_guard_core::io::{StepKind, keys};

use super::fact::Fact;
use super::fields::{self, Field};
use super::log::tell;
use super::observer::{Observer, Scene};
use super::rate_limit::RateLimit;
use super::words;

/// Writes them.
#[derive(Default)]
pub(super) struct LogLines {
    /// The report of the escalation whose lines are counted.
    report: Option<PathBuf>,
    limit: Option<RateLimit>,
    /// The steps that have begun: which, when, and within which time.
    begun: Vec<(StepKind, Instant, Duration)>,
}

impl LogLines {
    fn begins(&mut self, step: StepKind, budget: Duration, report: &PathBuf) {
        if self.report.as_ref() != Some(report) {
            let limit = Some(RateLimit::new(Instant::now()));
            *self = Self { report: Some(report.clone()), limit, begun: Vec::new() };
        }
        self.begun.retain(|(one, ..)| *one != step);
        self.begun.push((step, Instant::now(), budget));
    }

    fn ends(&mut self, step: StepKind, left: &[String]) {
        let Some(at) = self.begun.iter().position(|(one, ..)| *one == step) else { return };
        let (_, began, budget) = self.begun.swap_remove(at);
        let (step, took) = (step.as_str(), began.elapsed());
        let Some(omitted) = self.limit.as_mut().and_then(|limit| limit.allows(Instant::now())) else {
            return;
        };
        let omitted = match omitted {
            0 => String::new(),
            omitted => format!(" ({omitted} lines like this were left out)"),
        };
        let level = if left.is_empty() { Level::Info } else { Level::Warn };
        let report = self.report.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let fields = [
            (keys::STEP, Field::Text(step.to_owned())),
            (keys::BUDGET_MS, Field::millis(budget)),
            (keys::TOOK_MS, Field::millis(took)),
            (keys::LEFT, Field::count(left)),
            (keys::REPORT, Field::Text(report)),
        ];
        tell(level, &format!("step {step} took {} ms{omitted}", took.as_millis()), &fields);
    }
}

impl Observer for LogLines {
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>) {
        match (fact, scene.report) {
            (Fact::StepBegins(step, budget), Some(report)) if scene.escalates => {
                self.begins(step.kind(), *budget, report);
            }
            (Fact::StepEnds(done), _) => self.ends(done.kind(), done.left()),
            (Fact::Noted(note), report) => {
                let (level, line) = words::line(note);
                tell(level, &line, &fields::of(note, report));
            }
            (Fact::RealShimEnded(how), _) => log::info!("{}", words::how_it_ended(*how)),
            (Fact::StatsRefuted(why), _) => log::warn!("{}", words::stats_refuted(why)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::telemetry::recent::Recent;
    use runsc_guard_core::io::{Step, StepResult};

    fn tell(log: &mut LogLines, fact: &Fact<'_>, report: Option<&PathBuf>, escalates: bool) {
        let view = || unreachable!("a line needs no view");
        log.observe(fact, &Scene { view: &view, recent: &Recent::default(), report, escalates });
    }

    #[test]
    fn only_steps_of_an_escalation_are_told_and_each_report_has_its_own_allowance() {
        let (mut log, first, second) = (LogLines::default(), PathBuf::from("/r/1"), PathBuf::from("/r/2"));
        let budget = Duration::from_secs(1);
        tell(&mut log, &Fact::StepBegins(&Step::Release, budget), None, false);
        tell(&mut log, &Fact::StepBegins(&Step::Release, budget), Some(&first), false);
        assert!(log.begun.is_empty());
        for report in [&first, &second] {
            for _ in 0..100 {
                tell(&mut log, &Fact::StepBegins(&Step::Release, budget), Some(report), true);
                assert_eq!(log.begun.len(), 1);
                tell(
                    &mut log,
                    &Fact::StepEnds(&StepResult::Released { left: Vec::new() }),
                    Some(report),
                    true,
                );
                assert!(log.begun.is_empty());
            }
            assert_eq!(log.report.as_ref(), Some(report));
            assert_eq!(log.limit.as_mut().unwrap().allows(Instant::now()), None, "a hundred are too many");
        }
    }
}
