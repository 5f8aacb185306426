//! One line of containerd's log for each step of an escalation, with its duration and what it left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::Level;

use super::fact::Fact;
use super::observer::{Observer, Scene};
use super::rate_limit::RateLimit;

/// Writes them.
#[derive(Default)]
pub(super) struct StepLog {
    /// The report of the escalation whose lines are counted.
    report: Option<PathBuf>,
    limit: Option<RateLimit>,
    /// The steps that have begun: name, when, and within which time.
    begun: Vec<(&'static str, Instant, Duration)>,
}

impl StepLog {
    fn begins(&mut self, step: &'static str, budget: Duration, report: &PathBuf) {
        if self.report.as_ref() != Some(report) {
            let limit = Some(RateLimit::new(Instant::now()));
            *self = Self { report: Some(report.clone()), limit, begun: Vec::new() };
        }
        self.begun.retain(|(name, ..)| *name != step);
        self.begun.push((step, Instant::now(), budget));
    }

    fn ends(&mut self, step: &'static str, left: &[String]) {
        let Some(at) = self.begun.iter().position(|(name, ..)| *name == step) else { return };
        let (_, began, budget) = self.begun.swap_remove(at);
        let (took, report) = (began.elapsed(), self.report.clone().unwrap_or_default());
        let Some(omitted) = self.limit.as_mut().and_then(|limit| limit.allows(Instant::now())) else {
            return;
        };
        let omitted = match omitted {
            0 => String::new(),
            omitted => format!(" ({omitted} lines like this were left out)"),
        };
        let level = if left.is_empty() { Level::Info } else { Level::Warn };
        log::log!(
            level,
            rung = step,
            budget_ms = budget.as_millis(),
            took_ms = took.as_millis(),
            left = left.len(),
            report:% = report.display();
            "rung {step} took {} ms{omitted}",
            took.as_millis()
        );
    }
}

impl Observer for StepLog {
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>) {
        match (fact, scene.report) {
            (Fact::StepBegins(step, budget), Some(report)) if scene.escalates => {
                self.begins(step.as_str(), *budget, report);
            }
            (Fact::StepEnds(done), _) => self.ends(done.step().as_str(), done.left()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::telemetry::recent::Recent;
    use runsc_guard_core::io::{Step, StepResult};

    fn tell(log: &mut StepLog, fact: &Fact<'_>, report: Option<&PathBuf>, escalates: bool) {
        let view = || unreachable!("a line needs no view");
        log.observe(fact, &Scene { view: &view, recent: &Recent::default(), report, escalates });
    }

    #[test]
    fn only_steps_of_an_escalation_are_told_and_each_report_has_its_own_allowance() {
        let (mut log, first, second) = (StepLog::default(), PathBuf::from("/r/1"), PathBuf::from("/r/2"));
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
