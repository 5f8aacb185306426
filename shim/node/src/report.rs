//! The report of one escalation: why a sandbox was ended, what was seen of it, what was done, and what is left.
//!
//! Guards and the operator's `reap` write it, `runsc-guard reports` reads it. It is a picture of a moment: written
//! as soon as there are diagnostics, and again as the escalation goes on, so that what was known last stays when whoever
//! writes it dies. Everything in it is bounded when it is put in. Version 1 had the diagnostics alone, as `evidence`; what a version
//! does not have is empty.

use runsc_guard_core::io::{CauseKind, EscalationPhase, StepKind};
use serde::{Deserialize, Serialize};

use runsc_guard_sandbox::diagnostics::processes::Diagnostics;
use runsc_guard_sandbox::diagnostics::stacks::Dump;
use runsc_guard_sandbox::resources::inventory::Released;
use runsc_guard_sandbox::resources::spec::Pod;

mod folder;

pub use folder::{Folder, KEPT, WEIGHT, is_report};

/// The format written; readers take every one before it.
pub const VERSION: u32 = 2;
/// Moments kept, the first ones.
const MOMENTS: usize = 128;
/// Steps kept; those that repeat are counted in one.
const STEPS: usize = 32;
/// Names kept of what was released or is left.
const NAMES: usize = 64;

/// One escalation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The format.
    pub version: u32,
    /// containerd's namespace.
    pub namespace: String,
    /// The sandbox's id.
    pub sandbox: String,
    /// The pod, where it is one and its bundle was there to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// When the escalation began, in nanoseconds since the epoch.
    pub taken_at_ns: u64,
    /// How far the escalation is: the name of an [`EscalationPhase`].
    #[serde(default)]
    pub phase: String,
    /// Why it is: the name of a [`CauseKind`]. Readers ask [`Report::kind`].
    #[serde(default)]
    pub cause: String,
    /// The same in words: the sign by which the sandbox was found wedged.
    #[serde(default)]
    pub sign: String,
    /// How long its effect had been waited for.
    #[serde(default)]
    pub waited_ms: u64,
    /// Since when its effect was waited for, in milliseconds since the epoch as all times below.
    #[serde(default)]
    pub since_ms: u64,
    /// What runsc called itself.
    #[serde(default)]
    pub runsc_version: String,
    /// What was asked, forwarded and answered, and what happened.
    #[serde(default)]
    pub timeline: Vec<Moment>,
    /// Moments that found no place in it.
    #[serde(default)]
    pub moments_omitted: usize,
    /// The steps of the escalation.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What was released.
    #[serde(default)]
    pub released: Vec<Released>,
    /// How long the escalation has taken until the sandbox was gone.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// What is left, in words.
    #[serde(default)]
    pub left: Vec<String>,
    /// Nothing was done to it: the watchdog has looked at a sandbox that is silent, and that is all.
    #[serde(default)]
    pub only_looked: bool,
    /// When all of it was gone, or as much as could be: then the escalation was over. (After a look only: when that was.)
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// What /proc told before anything was touched.
    #[serde(default)]
    pub diagnostics: Diagnostics,
    /// The real shim's goroutines.
    #[serde(default)]
    pub goroutines: Dump,
    /// The sentry's.
    #[serde(default)]
    pub stacks: Dump,
}

/// What a moment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A request came in; it is answered by the deadline whatever happens.
    Asked,
    /// An effect is waited for: the sandbox is ended at the deadline.
    Awaited,
    /// A call is out to the real shim, which gives it up at the deadline.
    Forwarded,
    /// A request was answered.
    Answered,
    /// Anything else.
    Happened,
}

/// One line of the timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at_ms: u64,
    /// Of which kind.
    pub what: What,
    /// In words.
    pub text: String,
    /// Its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// When it began, the last time.
    pub began_ms: u64,
    /// How long it might take.
    pub budget_ms: u64,
    /// How long it took; none while it is under way, or if it never came back.
    pub took_ms: Option<u64>,
    /// How often it was taken.
    pub times: u32,
    /// What was still there at its end.
    pub left: Vec<String>,
}

impl Report {
    /// A report that begins now.
    pub fn begin(namespace: &str, sandbox: &str, taken_at_ns: u64) -> Self {
        let (namespace, sandbox) = (namespace.to_owned(), sandbox.to_owned());
        Self { version: VERSION, namespace, sandbox, taken_at_ns, ..Self::default() }
    }

    /// Why it is.
    pub fn kind(&self) -> Option<CauseKind> {
        CauseKind::named(&self.cause)
    }

    /// Whether processes of it cannot be killed.
    pub fn is_unkillable(&self) -> bool {
        self.phase == EscalationPhase::Unkillable.as_str()
    }

    /// Adds to the timeline, in the order of time.
    pub fn moment(&mut self, moment: Moment) {
        if self.timeline.len() == MOMENTS {
            self.moments_omitted += 1;
            return;
        }
        let at = self.timeline.partition_point(|one| one.at_ms <= moment.at_ms);
        self.timeline.insert(at, moment);
    }

    /// A step begins. One that is taken again right after itself is the same one.
    pub fn step_begins(&mut self, step: StepKind, began_ms: u64, budget_ms: u64) {
        let step = step.as_str();
        let again = self.steps.last_mut().filter(|last| last.step == step);
        if let Some(step) = again {
            *step = Step { began_ms, budget_ms, took_ms: None, times: step.times + 1, ..step.clone() };
        } else if self.steps.len() < STEPS {
            let step = step.to_owned();
            self.steps.push(Step { step, began_ms, budget_ms, times: 1, ..Step::default() });
        }
    }

    /// A step has come back, perhaps long after it was given up. Gives the step as it is now.
    pub fn step_ends(&mut self, step: StepKind, now_ms: u64, left: &[String]) -> Option<&Step> {
        let open = |one: &&mut Step| one.step == step.as_str() && one.took_ms.is_none();
        let step = self.steps.iter_mut().rev().find(open)?;
        step.took_ms = Some(now_ms.saturating_sub(step.began_ms));
        step.left = bounded(left);
        Some(step)
    }

    /// What is left by now.
    pub fn is_left(&mut self, left: &[String]) {
        self.left = bounded(left);
    }
}

/// The first ones, and how many more there are.
fn bounded(names: &[String]) -> Vec<String> {
    let more = names.len().saturating_sub(NAMES);
    let first = names.iter().take(NAMES).cloned();
    first.chain((more > 0).then(|| format!("and {more} more"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_core::io::keys;

    fn moment(at_ms: u64) -> Moment {
        Moment { at_ms, what: What::Happened, text: String::new(), due_ms: None }
    }

    #[test]
    fn the_timeline_is_in_order_and_bounded() {
        let mut report = Report::begin("ns", "box", 1);
        for at in [5, 3, 9, 3] {
            report.moment(moment(at));
        }
        let times: Vec<u64> = report.timeline.iter().map(|one| one.at_ms).collect();
        assert_eq!(times, [3, 3, 5, 9]);
        (0..MOMENTS as u64).for_each(|at| report.moment(moment(at)));
        assert_eq!((report.timeline.len(), report.moments_omitted), (MOMENTS, 4));
    }

    #[test]
    fn a_step_that_repeats_is_one_and_a_late_one_still_ends() {
        let mut report = Report::begin("ns", "box", 1);
        report.step_begins(StepKind::Diagnose, 10, 300);
        report.step_begins(StepKind::KillAll, 310, 400);
        assert!(report.step_ends(StepKind::Release, 320, &[]).is_none());
        assert_eq!(report.step_ends(StepKind::Diagnose, 900, &[]).unwrap().took_ms, Some(890));
        for at in 0..1000 {
            report.step_begins(StepKind::Unblock, 1000 + at, 2000);
            report.step_ends(StepKind::Unblock, 1001 + at, &["pid 7".into()]);
        }
        let free = report.steps.last().unwrap();
        assert_eq!((report.steps.len(), free.times, free.began_ms, free.took_ms), (3, 1000, 1999, Some(1)));
        assert_eq!(report.steps[1].took_ms, None);
    }

    #[test]
    fn what_is_left_has_a_bound_that_says_so() {
        let mut report = Report::begin("ns", "box", 1);
        report.is_left(&vec!["x".to_owned(); NAMES + 3]);
        assert_eq!((report.left.len(), report.left[NAMES].as_str()), (NAMES + 1, "and 3 more"));
    }

    #[test]
    fn what_is_told_elsewhere_too_has_the_common_names() {
        let step = Step { step: "release".into(), ..Step::default() };
        let report = Report { steps: vec![step], ..Report::begin("ns", "box", 1) };
        let told = serde_json::to_value(report).unwrap();
        for name in [keys::NAMESPACE, keys::SANDBOX, keys::PHASE, keys::CAUSE, keys::SIGN, keys::WAITED_MS] {
            assert!(told.get(name).is_some(), "{name}");
        }
        assert!(told.get(keys::TOOK_MS).is_some() && told[keys::LEFT].is_array());
        for name in [keys::STEP, keys::BUDGET_MS, keys::TOOK_MS, keys::LEFT] {
            assert!(told["steps"][0].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_another_version_leaves_out_has_its_default() {
        let text = r#"{"version":2,"namespace":"ns","sandbox":"box","taken_at_ns":7,"later":{"x":1}}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert!(report.timeline.is_empty() && report.steps.is_empty() && report.stacks.text.is_empty());
    }
}
