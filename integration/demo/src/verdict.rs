//! The last two lines: the worse of the two cases of each side.

use std::{fmt, time::Duration};

/// How one sandbox ended, or did not.
#[derive(Debug)]
pub(crate) struct Ending {
    /// From the first request to containerd's yes, with the sentry gone and nothing listed as alive any more.
    pub(crate) ended: Option<Duration>,
    /// How long it was waited for.
    pub(crate) waited: Duration,
    /// What then still ran of the sandbox, shims included.
    pub(crate) processes_left: usize,
}

/// How one side did.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The pod's end and the container's.
    pub(crate) endings: Vec<Ending>,
    /// What had outlived them, one word or two each; `None` where something had not ended at all.
    pub(crate) residue: Option<Vec<String>>,
    /// The guard's promise, where there is a guard.
    pub(crate) promise: Option<Promise>,
}

/// What the guard promises: an end by the deadline and the escalation's own time after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub(crate) deadline: Duration,
    pub(crate) escalation: Duration,
}

impl Verdict {
    /// All ended, none left anything.
    pub(crate) fn good(&self) -> bool {
        self.residue.as_ref().is_some_and(Vec::is_empty)
            && self.endings.iter().all(|ending| ending.ended.is_some())
    }

    /// All ended in the time that the guard promises, and none left anything.
    pub(crate) fn kept_promise(&self) -> bool {
        let in_time = |promise: Promise| {
            self.endings
                .iter()
                .all(|ending| ending.ended.is_some_and(|took| took <= promise.deadline + promise.escalation))
        };
        self.good() && self.promise.is_some_and(in_time)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(waited) = self.endings.iter().filter(|e| e.ended.is_none()).map(|e| e.waited).max() {
            let left = self.endings.iter().map(|ending| ending.processes_left).max().unwrap_or_default();
            return write!(
                f,
                "not ended after {:.1} s, {left} process{} left",
                waited.as_secs_f64(),
                if left == 1 { "" } else { "es" }
            );
        }
        let slowest = self.endings.iter().filter_map(|ending| ending.ended).max().unwrap_or_default();
        write!(f, "ended in {:.1} s", slowest.as_secs_f64())?;
        if let Some(promise) = self.promise {
            write!(f, " (deadline {:.1} s)", promise.deadline.as_secs_f64())?;
        }
        match self.residue.as_deref() {
            Some([]) => write!(f, ", residue none"),
            Some(residue) => write!(f, ", residue {}", residue.join(", ")),
            None => write!(f, ", residue not looked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise { deadline: Duration::from_secs(4), escalation: Duration::from_secs(2) };

    fn ending(ended: Option<u64>, processes_left: usize) -> Ending {
        Ending {
            ended: ended.map(Duration::from_millis),
            waited: Duration::from_millis(ended.unwrap_or(15_000)),
            processes_left,
        }
    }

    fn guarded(ended: [Option<u64>; 2], residue: &[&str]) -> Verdict {
        Verdict {
            endings: ended.map(|ended| ending(ended, 0)).into(),
            residue: Some(residue.iter().map(|&what| what.to_owned()).collect()),
            promise: Some(PROMISE),
        }
    }

    #[test]
    fn the_worse_case_speaks_for_its_side() {
        let verdict =
            Verdict { endings: vec![ending(None, 9), ending(None, 13)], residue: None, promise: None };
        assert_eq!(verdict.to_string(), "not ended after 15.0 s, 13 processes left");
        assert!(!verdict.good());
        let verdict = guarded([Some(4100), Some(4230)], &[]);
        assert_eq!(verdict.to_string(), "ended in 4.2 s (deadline 4.0 s), residue none");
        assert!(verdict.good() && verdict.kept_promise());
    }

    #[test]
    fn late_unended_or_untidy_is_a_broken_promise() {
        assert!(!guarded([Some(4100), Some(6001)], &[]).kept_promise());
        assert!(!guarded([Some(4100), None], &[]).kept_promise());
        let untidy = guarded([Some(4100), Some(4200)], &["1 mount"]);
        assert_eq!(untidy.to_string(), "ended in 4.2 s (deadline 4.0 s), residue 1 mount");
        assert!(!untidy.kept_promise());
    }
}
