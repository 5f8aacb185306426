//! The one task that owns the state machine: it takes messages one by one and performs what each puts out.

use std::time::Instant;

use nix::sys::wait::WaitStatus;
use runsc_guard_core::io::{
    Answer, CallId, ConnectionKind, Event, Input, Method, Note, Outcome, Output, Request as TaskRequest,
    RequestId, Way,
};
use runsc_guard_core::time::Time;
use runsc_guard_proto::service;
use runsc_guard_sandbox::diagnostics::control::Unanswered;
use runsc_guard_sandbox::diagnostics::usage::Reading;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep_until;
use ttrpc::Request;

use super::connection::Reply;
use super::forward::{Forward, Next};
use super::last_words::LastWords;
use super::message::{Answered, Message};
use super::shim_pool::Loss;
use super::telemetry::fact::{Fact, Outcome as Ending};
use super::{decode, effects, encode, recall, signals};

mod machine;

pub(super) use machine::Driver;
use machine::{Incoming, PendingRequest, view};

/// How the guard's work ended.
pub(crate) enum End {
    /// Its last container is deleted; whether somebody was sent SIGTERM meanwhile, which may have been the node's.
    Served { told: bool },
    /// With its node; whether all of the sandbox was released.
    NodeGoesDown { released: bool },
}

impl Driver {
    /// Works until the state machine has nothing more to do, ever.
    pub(super) async fn run(mut self, mut messages: UnboundedReceiver<Message>) -> anyhow::Result<End> {
        let mut children = signal(SignalKind::child())?;
        signals::listen(&self.reports)?;
        // A real shim that ended before anybody listened for it sends no second signal.
        if !self.reap() {
            return Ok(End::Served { told: false });
        }
        let alarm = sleep_until(self.start.into());
        tokio::pin!(alarm);
        let mut set: Option<Instant> = None;
        loop {
            // An alarm that is too early rings once for nothing. Set anew with each request, it would wake the runtime.
            if let Some(due) = self.guard.poll_timeout().map(|(_, at)| self.start + at.0)
                && set.is_none_or(|set| due < set)
            {
                alarm.as_mut().reset(due.into());
                set = Some(due);
            }
            // What has arrived is read before any deadline is judged (rule 7): the clock is the last branch.
            let more = tokio::select! {
                biased;
                _ = children.recv() => self.reap(),
                Some(message) = messages.recv() => self.message(message),
                () = &mut alarm, if set.is_some() => {
                    set = None;
                    self.input(Input::Tick, Incoming::Nothing)
                }
            };
            if !more {
                recall::tidy(&self.keeper.scope().members);
                self.telemetry.send_final_metrics(&self.params, self.publisher.backlog());
                return Ok(if self.node_goes_down {
                    End::NodeGoesDown { released: self.guard.is_released() }
                } else {
                    End::Served { told: self.watch.is_some() }
                });
            }
        }
    }

    fn message(&mut self, message: Message) -> bool {
        match message {
            Message::Request { id, op, request, reply } => self.request(id, op, request, reply),
            Message::Abandoned(id) => {
                let of = self.pending.remove(&id).map(|pending| (pending.method, pending.since));
                self.tell(&Fact::Abandoned { id, of });
                self.input(Input::Abandoned(id), Incoming::Nothing)
            }
            Message::Received { connection, stream, response } => {
                let answered = self.upstream.received(connection, stream, response);
                answered.is_none_or(|answered| self.answered(answered))
            }
            Message::Answered(answered) => self.answered(answered),
            Message::Used(call, told) => self.used(call, told),
            Message::Signalled(call, is_taken) => {
                let next = self.sigkills.told(call, is_taken);
                self.go_on(call, Method::Kill, next)
            }
            Message::Disconnected(connection) => {
                let lost: Vec<CallId> = self.upstream.disconnected(connection);
                lost.into_iter().all(|call| {
                    self.stats.forget(call);
                    self.input(Input::Returned(call, Outcome::Lost), Incoming::Nothing)
                })
            }
            Message::Event(envelope) => {
                let event: Event = decode::event(&envelope);
                self.tell(&Fact::Published { topic: &envelope.topic, event: &event });
                self.input(Input::Event(event), Incoming::Event(envelope))
            }
            Message::Input(input) => {
                match &input {
                    Input::Step(done) => self.tell(&Fact::StepEnds(done)),
                    Input::Terminate => self.node_goes_down = true,
                    _ => {}
                }
                self.input(input, Incoming::Nothing)
            }
            Message::Status(reply) => {
                let view = view(&self.guard, self.start);
                reply.send(self.telemetry.status(&self.params, view));
                true
            }
            Message::Metrics(reply) => {
                let backlog = self.publisher.backlog();
                reply.send(self.telemetry.metrics(&self.params.namespace, backlog));
                true
            }
            Message::Signal(kind) => {
                self.signalled(kind);
                true
            }
            Message::AwaitDeath(stuck) => {
                effects::await_stuck(stuck, self.reports.clone());
                true
            }
        }
    }

    fn answered(&mut self, Answered { call, method, response }: Answered) -> bool {
        let outcome = decode::outcome(method, &response);
        self.learn_sentry(method, &outcome);
        if method == Method::Stats {
            self.stats.shim_told(call, &response);
            self.tell_refuted();
        }
        if matches!(outcome, Outcome::Done(_)) {
            self.tell(&Fact::Done);
        }
        self.input(Input::Returned(call, outcome), Incoming::Response(response))
    }

    /// The sentry has been asked for Stats.
    fn used(&mut self, call: CallId, told: Result<Reading, Unanswered>) -> bool {
        let next = self.stats.sentry_told(call, told);
        self.tell_refuted();
        self.go_on(call, Method::Stats, next)
    }

    /// The sentry has answered in the real shim's place, or has not.
    fn go_on(&mut self, call: CallId, method: Method, next: Next) -> bool {
        match next {
            Next::Nothing => true,
            Next::Forward(forward) => {
                self.forward(method, forward);
                true
            }
            Next::Answer(response) => {
                let outcome = decode::outcome(method, &response);
                self.input(Input::Returned(call, outcome), Incoming::Response(response))
            }
        }
    }

    fn request(&mut self, id: RequestId, op: TaskRequest, request: Request, reply: Reply) -> bool {
        let op = match op {
            TaskRequest::State(process, _) => TaskRequest::State(process, self.in_hand.look_at_sentry()),
            TaskRequest::Pids(container, _) => TaskRequest::Pids(container, self.in_hand.look_at_sentry()),
            other => other,
        };
        let caller = decode::caller_timeout(request.timeout_nano);
        self.tell(&Fact::Asked { id, op: &op });
        let method = op.method();
        let pending = PendingRequest { request: Some(request), reply, method, since: Instant::now() };
        self.pending.insert(id, pending);
        self.input(Input::Request { id, request: op, caller }, Incoming::Nothing)
    }

    /// One input, and everything that follows from it. False when there is nothing more to do, ever.
    fn input(&mut self, input: Input, incoming: Incoming) -> bool {
        self.guard.handle(Time(self.start.elapsed()), input);
        let mut more = true;
        while let Some(output) = self.guard.poll_output() {
            more &= self.perform(output, &incoming);
        }
        more
    }

    fn perform(&mut self, output: Output, incoming: &Incoming) -> bool {
        match output {
            Output::Reply(id, answer) => self.reply(id, answer, incoming),
            Output::Forward { call, request, timeout, way } => {
                let pending = self.pending.get_mut(&request);
                if let Some((method, mut request)) =
                    pending.and_then(|pending| Some((pending.method, pending.request.take()?)))
                {
                    request.service = service::TASK_V2.to_owned();
                    let (past, connection) = match way {
                        Way::Sentry => (true, ConnectionKind::Own),
                        Way::Shim(connection) => (false, connection),
                    };
                    let forward = Forward { call, request, timeout, connection };
                    let forward = match method {
                        Method::Stats => self.stats.ask(forward, self.control()),
                        _ if past => self.sigkills.ask(forward, self.control()),
                        _ => Some(forward),
                    };
                    forward.into_iter().for_each(|forward| self.forward(method, forward));
                }
            }
            Output::Call { call, own, timeout } => {
                let (method, mut request) = encode::own_request(&own, &self.params.sandbox);
                request.timeout_nano = encode::timeout_nano(timeout);
                self.upstream.send(call, method, request, ConnectionKind::Own);
            }
            Output::Cancel(call) => {
                self.stats.forget(call);
                self.sigkills.forget(call);
                self.upstream.cancel(call);
            }
            Output::Publish(publication) => self.publish(publication, incoming),
            Output::Probe(timeout) => effects::probe_sentry(self.control(), timeout, self.reports.clone()),
            Output::Step(step, budget) => {
                self.tell(&Fact::StepBegins(&step, budget));
                self.in_hand.send_sigkill(&step);
                self.escalation.step(step, budget, self.keeper.scope());
            }
            Output::Recall => self.recall(),
            Output::StopListening => self.stop_listening(),
            Output::Save => {
                self.keeper.save(&self.guard);
                self.stats.retain(|container| self.keeper.is_member(container));
            }
            Output::Note(note) => {
                if let Note::Wedged { cause, waited } = &note {
                    let containers = view(&self.guard, self.start).containers;
                    self.escalation.begins(LastWords::of(cause, *waited, &containers));
                }
                self.tell(&Fact::Noted(&note));
            }
            Output::Quit => return false,
        }
        true
    }

    fn reply(&mut self, id: RequestId, answer: Answer, incoming: &Incoming) {
        let Some(pending) = self.pending.remove(&id) else { return };
        let outcome = Ending::of(&answer, incoming.response());
        let of = (pending.method, pending.since);
        self.tell(&Fact::Answered { id, answer: &answer, of, outcome });
        let response = match (answer, incoming) {
            (Answer::Relay, Incoming::Response(response)) => response.clone(),
            // A private End, whose answer has a form of its own.
            (Answer::Deleted(exit), _) if pending.method == Method::End => encode::ended(exit),
            (answer, _) => encode::response(answer),
        };
        pending.reply.send(response);
    }

    /// The pod has no real shim any more.
    fn lose_real_shim(&mut self, how: WaitStatus) -> bool {
        if !signals::has_left(how) {
            return self.input(Input::RealShimExited, Incoming::Nothing);
        }
        self.watch_node();
        self.input(Input::RealShimLeft, Incoming::Nothing)
    }

    /// Takes leave of every child that has ended, the real shim's orphans among them.
    fn reap(&mut self) -> bool {
        let mut more = true;
        while let Some((pid, how)) = signals::ended_child() {
            let Some(loss) = self.upstream.child_ended(pid) else { continue };
            self.tell(&Fact::RealShimEnded(how));
            if loss == Loss::Shim {
                more &= self.lose_real_shim(how);
            }
        }
        more
    }
}
