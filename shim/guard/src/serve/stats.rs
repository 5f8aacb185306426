//! Stats, without the process that gVisor's shim starts for each: the sentry and its cgroup are asked here, and the answer is
//! the message that the shim would have sent.
//!
//! To the state machine this is a call to the real shim like any other, with the same time; it does not know who answers.
//! Whether the sentry may is [`SelfProof`]'s to say: while it has not proved itself, and wherever it fails, the real shim
//! is asked, with what is left of the call's time.
//!
//! ```text
//! direct:  sentry -> answer            both:  sentry -> shim -> answer, sentry -> compared
//!            `-> (none) shim -> answer
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runsc_guard_core::io::CallId;
use runsc_guard_sandbox::diagnostics::control::{Control, Unanswered};
use runsc_guard_sandbox::diagnostics::usage::self_proof::{SelfProof, Way as Proved};
use runsc_guard_sandbox::diagnostics::usage::{Reading, Told, processor};
use tokio::sync::mpsc::UnboundedSender;
use ttrpc::Response;

use super::forward::{Forward, Next};
use super::message::Message;
use super::watch::answer;
use super::{decode, encode};

mod metrics;

use metrics::{Form, Read};

/// How long the sentry is waited for, a third of a call's time at most: the rest is the real shim's. An answer takes a
/// millisecond, a busy node's some tens.
const PATIENCE: Duration = Duration::from_millis(500);

/// All of them.
pub(super) struct Stats {
    proof: SelfProof,
    /// The form in which the real shim has answered for this sandbox.
    form: Option<&'static Form>,
    open: BTreeMap<CallId, Open>,
    /// Why the sentry is not asked any more, until that is told.
    refuted: Option<String>,
    reports: UnboundedSender<Message>,
}

/// A call that is not answered yet, or not compared.
struct Open {
    control: Control,
    container: String,
    stage: Stage,
}

enum Stage {
    /// The sentry is asked, since then; with a form its answer is the call's.
    Sentry(Forward, Option<&'static Form>, Instant),
    /// The real shim is asked; this the sentry has said, and whether that is to be compared.
    Shim(Result<Reading, Unanswered>, bool),
    /// The sentry is asked once more; this it had said before, and this the real shim.
    Again(Reading, Read),
}

impl Stats {
    pub(super) fn new(is_direct: bool, reports: UnboundedSender<Message>) -> Self {
        Self { proof: SelfProof::new(is_direct), form: None, open: BTreeMap::new(), refuted: None, reports }
    }

    /// A call is to be made: gives it back where it is the real shim's.
    pub(super) fn ask(&mut self, forward: Forward, control: Option<Control>) -> Option<Forward> {
        let (Some(control), Some(container)) = (control, decode::stats_of(&forward.request)) else {
            return Some(forward);
        };
        let form = match self.proof.way(&container) {
            Proved::Shim => return Some(forward),
            Proved::Both => None,
            Proved::Direct => self.form,
        };
        let (call, now) = (forward.call, Instant::now());
        self.question(call, control.clone(), container.clone(), now + PATIENCE.min(forward.timeout / 3));
        let stage = Stage::Sentry(forward, form, now);
        self.open.insert(call, Open { control, container, stage });
        None
    }

    fn question(&self, call: CallId, control: Control, container: String, until: Instant) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let told = hear(&control, &container, until).await;
            let _ = reports.send(Message::Used(call, told));
        });
    }

    /// The sentry has answered, or has not.
    pub(super) fn sentry_told(&mut self, call: CallId, told: Result<Reading, Unanswered>) -> Next {
        let Some(Open { control, container, stage }) = self.open.remove(&call) else { return Next::Nothing };
        if matches!(told, Err(Unanswered::Nonsense)) {
            self.refute(|proof| proof.refute(format!("the sentry's answer for {container} makes no sense")));
        }
        match (stage, told) {
            (Stage::Sentry(_, Some(form), _), Ok(told)) if told.usage.pids.current > 0 => {
                self.proof.answered();
                Next::Answer(encode::ok(form.payload(&told.usage)))
            }
            (Stage::Sentry(forward, form, since), told) => {
                self.open.insert(call, Open { control, container, stage: Stage::Shim(told, form.is_none()) });
                Next::Forward(forward.later(since))
            }
            (Stage::Again(before, shim), Ok(after)) => {
                let (low, high) = Reading::between(&before, &after);
                let fields = shim.beside(&low, &high);
                self.refute(|proof| proof.compared(&container, fields));
                Next::Nothing
            }
            (Stage::Again(..) | Stage::Shim(..), _) => {
                self.refute(|proof| proof.incomparable(&container));
                Next::Nothing
            }
        }
    }

    /// The real shim has answered a call. Where it has failed as well, that was not for the way by which the sentry was asked.
    pub(super) fn shim_told(&mut self, call: CallId, response: &Response) {
        let Some(Open { control, container, stage }) = self.open.remove(&call) else { return };
        let Stage::Shim(told, is_compared) = stage else { return };
        if !decode::is_success(response) || self.proof.way(&container) == Proved::Shim {
            return;
        }
        let Some(shim) =
            Read::of(&response.payload).filter(|read| self.form.is_none_or(|form| form == read.form))
        else {
            let why = "gVisor's shim answers in a form that is not known".to_owned();
            return self.refute(|proof| proof.refute(why));
        };
        self.form = Some(shim.form);
        match told {
            Err(why) => self.refute(|proof| proof.missed(&why.to_string())),
            Ok(before) if is_compared => {
                self.question(call, control.clone(), container.clone(), Instant::now() + PATIENCE);
                self.open.insert(call, Open { control, container, stage: Stage::Again(before, shim) });
            }
            // It has answered and seen no process: between an exit and its event the real shim knows better.
            Ok(_) => {}
        }
    }

    /// A call is given up, or its real shim is lost.
    pub(super) fn forget(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// Only these containers are left.
    pub(super) fn retain(&mut self, is_left: impl Fn(&str) -> bool) {
        self.proof.retain(is_left);
    }

    /// Why the sentry is not asked any more: once, when that begins.
    pub(super) fn refuted(&mut self) -> Option<String> {
        self.refuted.take()
    }

    fn refute(&mut self, judge: impl FnOnce(&mut SelfProof) -> Option<String>) {
        if let Some(why) = judge(&mut self.proof) {
            self.refuted = Some(why);
        }
    }
}

/// One question, which takes neither a thread nor a program. runsc reads the cgroup after the answer, too.
async fn hear(control: &Control, container: &str, until: Instant) -> Result<Reading, Unanswered> {
    let question = control.ask_usage(container)?;
    answer::<Told>(question, until).await?.of(container, processor::time_of(control.sentry.pid))
}

#[cfg(test)]
mod tests;
