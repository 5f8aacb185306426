//! Events that the API has not taken yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::api::Failure;

/// Events live for an hour: of what is older, nobody asks, and a name of then would be free again.
const OLD: Duration = Duration::from_secs(1800);

/// Each with the time of what it tells.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(SystemTime, Value)>);

impl Waiting {
    /// One more.
    pub(super) fn add(&mut self, at: SystemTime, event: Value) {
        self.0.push_back((at, event));
    }

    /// Has the API create them, until it fails or it is `until`: the node's own state waits meanwhile. What fails for now
    /// comes after all others the next time.
    pub(super) fn hand_over(
        &mut self,
        until: Instant,
        mut create: impl FnMut(&Value) -> Result<(), Failure>,
        mut complain: impl FnMut(&'static str, &str),
    ) {
        let oldest = SystemTime::now() - OLD;
        self.0.retain(|(at, _)| *at > oldest);
        while Instant::now() < until
            && let Some((at, event)) = self.0.pop_front()
        {
            match create(&event) {
                // A pod's namespace may have gone with the pod.
                Ok(()) | Err(Failure::Exists | Failure::Absent) => {}
                Err(failure) if failure.is_final() => {
                    complain("an Event is given up", &format!("{}: {failure}", event["metadata"]));
                }
                Err(failure) => {
                    complain("cannot create Events for now", &failure.to_string());
                    return self.add(at, event);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use hyper::StatusCode;
    use serde_json::json;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn waiting(names: &[&str]) -> Waiting {
        let mut waiting = Waiting::default();
        for name in names {
            waiting.add(SystemTime::now(), json!({ "metadata": { "name": name } }));
        }
        waiting
    }

    /// The names in the order in which the API was asked, and the complaints of this round.
    fn round(
        waiting: &mut Waiting,
        mut answer: impl FnMut(&str) -> Result<(), Failure>,
    ) -> (String, Vec<String>) {
        let (mut asked, mut complaints) = (String::new(), Vec::new());
        let create = |event: &Value| {
            let name = event["metadata"]["name"].as_str().unwrap();
            asked.push_str(name);
            answer(name)
        };
        waiting
            .hand_over(Instant::now() + LONG, create, |what, why| complaints.push(format!("{what}: {why}")));
        (asked, complaints)
    }

    fn refused(status: StatusCode) -> Result<(), Failure> {
        Err(Failure::Refused(status, "why".into()))
    }

    #[test]
    fn an_api_that_is_slow_keeps_the_rest_waiting_for_another_round() {
        let mut waiting = waiting(&["a", "b"]);
        let until = Instant::now() + Duration::from_millis(10);
        let create = |_: &Value| {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            Ok(())
        };
        waiting.hand_over(until, create, |what, _| panic!("{what}"));
        assert_eq!(round(&mut waiting, |_| Ok(())).0, "b");
    }

    #[test]
    fn an_api_that_does_not_answer_is_asked_once_a_round() {
        let mut waiting = waiting(&["a", "b", "c"]);
        let (asked, complaints) = round(&mut waiting, |_| Err(anyhow!("no answer").into()));
        assert_eq!(
            (asked.as_str(), complaints),
            ("a", vec!["cannot create Events for now: no answer".to_owned()])
        );
        assert_eq!(round(&mut waiting, |_| Ok(())).0, "bca");
        assert_eq!(round(&mut waiting, |_| Ok(())).0, "");
    }

    #[test]
    fn what_is_refused_for_good_is_dropped_with_a_complaint_and_holds_nothing_up() {
        for status in [StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY] {
            let mut waiting = waiting(&["a", "b"]);
            let (asked, complaints) =
                round(&mut waiting, |name| if name == "a" { refused(status) } else { Ok(()) });
            assert_eq!((asked.as_str(), complaints.len()), ("ab", 1), "{status}");
            assert!(
                complaints[0].contains(r#"{"name":"a"}"#) && complaints[0].contains("why"),
                "{complaints:?}"
            );
            assert_eq!(round(&mut waiting, |_| Ok(())).0, "", "{status}");
        }
    }

    #[test]
    fn what_is_refused_for_now_is_tried_again_after_all_others() {
        for status in [408, 409, 429, 500, 503] {
            let mut waiting = waiting(&["a", "b"]);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(round(&mut waiting, |_| refused(status)).0, "a", "{status}");
            assert_eq!(
                round(&mut waiting, |name| if name == "a" { refused(status) } else { Ok(()) }).0,
                "ba"
            );
            assert_eq!(round(&mut waiting, |_| Ok(())).0, "a");
        }
    }

    #[test]
    fn what_is_there_or_has_no_namespace_any_more_is_done_and_what_is_old_is_not_told() {
        let mut waiting = waiting(&["a", "b"]);
        waiting.add(SystemTime::now() - OLD, json!({ "metadata": { "name": "old" } }));
        let answer = |name: &str| Err(if name == "a" { Failure::Exists } else { Failure::Absent });
        assert_eq!(round(&mut waiting, answer), ("ab".to_owned(), Vec::new()));
        assert_eq!(round(&mut waiting, |_| Ok(())).0, "");
    }
}
