//! What has happened lately, kept for the report that may begin and for operators, who are shown it beside the state
//! machine's own view.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{Method, Note, ProcessId};
use runsc_guard_core::view::{CallView, ContainerView, DeadlineView, RequestView, View};
use runsc_guard_proto::guard::{
    self as wire, ContainerStatus, EndResponse, Happening, StatusResponse, Waiting,
};
use runsc_guard_proto::protobuf::{EnumOrUnknown, MessageField};
use ttrpc::Response;

use super::fact::Fact;
use super::words;
use crate::serve::encode;
use runsc_guard_node::params::ServeParams;
use runsc_guard_node::view;

/// Lines remembered; a pod's memory is not the guard's.
const REMEMBERED: usize = 16;

/// What has happened lately.
#[derive(Default)]
pub(crate) struct Recent {
    answered: Option<Instant>,
    sign: Option<(Instant, String)>,
    last: VecDeque<(Instant, String)>,
}

impl Recent {
    /// Something has happened.
    pub(super) fn take(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Done => self.answered = Some(Instant::now()),
            Fact::Published { topic, event } => self.keep(words::event(topic, event)),
            Fact::RealShimEnded(how) => self.keep(words::how_it_ended(*how)),
            Fact::StatsRefuted(why) => self.keep(words::stats_refuted(why)),
            Fact::Noted(note) => {
                if let Note::Wedged { cause, .. } = note {
                    self.sign = Some((Instant::now(), cause.to_string()));
                }
                self.keep(words::line(note).1);
            }
            Fact::Asked { .. }
            | Fact::Answered { .. }
            | Fact::Abandoned { .. }
            | Fact::StepBegins(..)
            | Fact::StepEnds(_) => {}
        }
    }

    /// What is remembered, and how long ago it was.
    pub(super) fn happenings(&self) -> impl Iterator<Item = (Duration, &str)> {
        self.last.iter().map(|(at, text)| (at.elapsed(), text.as_str()))
    }

    fn keep(&mut self, line: String) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((Instant::now(), line));
    }
}

/// The answer to Status.
pub(super) fn response(params: &ServeParams, seen: View, recent: &Recent) -> Response {
    let mut response = StatusResponse::new();
    response.namespace.clone_from(&params.namespace);
    response.sandbox.clone_from(&params.sandbox);
    view::put_progress(&mut response, seen.progress);
    response.escalating_ms = seen.escalating.map(millis);
    if let Some((at, sign)) = &recent.sign {
        response.sign.clone_from(sign);
        response.sign_ms_ago = millis(at.elapsed());
    }
    response.left = seen.left;
    response.containers = seen.containers.into_iter().map(container).collect();
    response.requests = seen.requests.into_iter().map(request).collect();
    response.clocks = seen.deadlines.into_iter().map(deadline).collect();
    let overdue = |call: CallView| {
        let asked = call.method.map_or_else(wire::Method::default, view::of_method);
        waiting((call.name(), asked), ProcessId::init(""), call.out, None)
    };
    response.overdue = seen.overdue.map(overdue).into();
    response.unanswered = seen.unanswered.map_or("", Method::as_str).to_owned();
    response.answered_ms_ago = recent.answered.map(|at| millis(at.elapsed()));
    let happening = |(at, text): &(Instant, String)| {
        let (ms_ago, text) = (millis(at.elapsed()), text.clone());
        Happening { ms_ago, text, ..Happening::default() }
    };
    response.last = recent.last.iter().map(happening).collect();
    encode::message(&response)
}

fn container(container: ContainerView) -> ContainerStatus {
    let ContainerView { id, bundle, pid, status, exit, execs } = container;
    let exit = exit.map(|exit| EndResponse {
        pid: exit.pid,
        exit_status: exit.status,
        exited_at_ns: exit.at_ns,
        ..EndResponse::default()
    });
    let execs = u32::try_from(execs).unwrap_or(u32::MAX);
    let (exit, state) = (MessageField::from(exit), EnumOrUnknown::new(view::of_status(status)));
    let status = status.as_str().to_owned();
    ContainerStatus { id, bundle, pid, status, exit, execs, state, ..ContainerStatus::default() }
}

fn request(request: RequestView) -> Waiting {
    let asked = (request.method.as_str(), view::of_method(request.method));
    waiting(asked, request.process, request.waited, request.answered_in)
}

fn deadline(deadline: DeadlineView) -> Waiting {
    let DeadlineView { effect, process, waited, ends_in } = deadline;
    waiting((effect.as_str(), view::of_awaited(effect)), process, waited, ends_in)
}

fn waiting(
    (name, asked): (&str, wire::Method),
    process: ProcessId,
    waited: Duration,
    due: Option<Duration>,
) -> Waiting {
    Waiting {
        method: name.to_owned(),
        asked: EnumOrUnknown::new(asked),
        container: process.container,
        exec: process.exec,
        waited_ms: millis(waited),
        due_in_ms: due.map(millis),
        ..Waiting::default()
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_core::io::Event;

    #[test]
    fn only_the_last_lines_are_remembered() {
        let mut recent = Recent::default();
        for number in 0..100 {
            recent.take(&Fact::Published { topic: &format!("/{number}"), event: &Event::Other });
        }
        assert_eq!(recent.last.len(), REMEMBERED);
        assert_eq!(recent.last.back().unwrap().1, "/99");
        recent.take(&Fact::Noted(&Note::RealShimDied));
        assert_eq!((recent.last.len(), recent.sign.is_none()), (REMEMBERED, true));
    }
}
