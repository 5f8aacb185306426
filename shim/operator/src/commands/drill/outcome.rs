//! How a drill went. Pure.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::story::{Moment, ms, seconds};
use crate::paint;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// From the request for the end to the sentry's death.
    pub(super) ended: Option<Duration>,
    /// From that request to containerd's answer that it is done.
    pub(super) answered: Option<Duration>,
    /// What containerd last said instead.
    pub(super) refused: Option<String>,
    /// How often it was asked.
    pub(super) asked: u32,
    /// The signal that interrupted the drill.
    pub(super) interrupted: Option<i32>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Ended within the promise by what containerd was asked for, and nothing is left.
    pub(super) kept: bool,
    /// Why not.
    pub(super) why_not: Option<String>,
    /// The handler, empty where the shim was named by its type.
    pub(super) handler: String,
    /// Its runtime type.
    pub(super) runtime_type: &'static str,
    /// `pod` or `task`.
    pub(super) kind: &'static str,
    /// containerd's namespace.
    pub(super) namespace: &'static str,
    /// The sandbox.
    pub(super) id: String,
    /// Within which it had to be ended.
    pub(super) promise_ms: u64,
    /// See [`Measured::ended`].
    pub(super) ended_ms: Option<u64>,
    /// See [`Measured::answered`].
    pub(super) answered_ms: Option<u64>,
    /// How often containerd was asked.
    pub(super) asked: u32,
    /// What is left of it.
    pub(super) left: Vec<String>,
    /// The guard's report of it.
    pub(super) report: Option<PathBuf>,
    /// All that happened.
    pub(super) happened: Vec<Moment>,
}

/// Why the promise was not kept, if it was not.
pub(super) fn verdict(measured: &Measured, promise: Duration, left: &[String]) -> Option<String> {
    let within = seconds(promise);
    if measured.interrupted.is_some() {
        return Some("the drill was interrupted".to_owned());
    }
    let refused = || measured.refused.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match (measured.ended, measured.answered) {
        (None, _) => return Some(format!("the sandbox was not ended within {within}{}", refused())),
        (Some(ended), _) if ended > promise => {
            return Some(format!("the sandbox was ended after {}, not within {within}", seconds(ended)));
        }
        (_, None) => return Some(format!("containerd has not said that it was ended{}", refused())),
        _ => {}
    }
    (!left.is_empty()).then(|| format!("this is left: {}", left.join("; ")))
}

impl Outcome {
    /// The last line for people.
    pub(super) fn line(&self) -> String {
        let promised = seconds(Duration::from_millis(self.promise_ms));
        match &self.why_not {
            None => {
                let ended = seconds(Duration::from_millis(self.ended_ms.unwrap_or_default()));
                let line =
                    format!("kept: ended {ended} after containerd was asked, promised within {promised}");
                paint::success(&line)
            }
            Some(why) => paint::failure(&format!("not kept: {}", paint::plain(why))),
        }
    }
}

/// The same as [`ms`] of what there is.
pub(super) fn maybe_ms(span: Option<Duration>) -> Option<u64> {
    span.map(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Duration = Duration::from_secs(13);

    fn measured(ended: Option<u64>, answered: Option<u64>) -> Measured {
        let span = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        Measured {
            ended: span(ended),
            answered: span(answered),
            refused: Some("deadline exceeded".into()),
            ..Measured::default()
        }
    }

    #[test]
    fn the_promise_is_kept_only_in_time_and_with_nothing_left() {
        assert_eq!(verdict(&measured(Some(12), Some(13)), PROMISE, &[]), None);
        for (measured, left, why) in [
            (measured(None, None), &[][..], "not ended within 13.0s: deadline exceeded"),
            (measured(Some(14), Some(14)), &[], "ended after 14.0s, not within 13.0s"),
            (measured(Some(12), None), &[], "has not said"),
            (measured(Some(12), Some(12)), &["mount: /m".to_owned()], "left: mount: /m"),
            (Measured { interrupted: Some(2), ..measured(Some(12), Some(12)) }, &[], "interrupted"),
        ] {
            let told = verdict(&measured, PROMISE, left).unwrap();
            assert!(told.contains(why), "{told}");
        }
    }
}
