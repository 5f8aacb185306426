//! The one task that owns the state machine: it takes messages one by one and performs what each puts out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use runsc_guard_core::guard::Guard;
use runsc_guard_core::io::{
    Answer, CallId, ConnectionKind, Event, Input, Method, Note, Outcome, Output, Publication,
    Request as TaskRequest, RequestId, ResponseInfo,
};
use runsc_guard_core::time::Time;
use runsc_guard_core::view::View;
use runsc_guard_proto::{Envelope, service};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use ttrpc::{Request, Response};

use super::arrivals::Callers;
use super::connection::Reply;
use super::forward::{Forward, Next};
use super::in_hand::InHand;
use super::last_words::LastWords;
use super::message::{Answered, Message};
use super::publish::Publisher;
use super::recall::{self, Question};
use super::record::Keeper;
use super::shim_pool::Loss;
use super::sigkill::Sigkills;
use super::stats::Stats;
use super::telemetry::Telemetry;
use super::telemetry::fact::{Fact, Outcome as Ending};
use super::telemetry::report_writer::ReportWriter;
use super::upstream::Upstream;
use super::{decode, effects, encode, node, signals};
use runsc_guard_node::config::StatsWay;
use runsc_guard_node::params::ServeParams;
use runsc_guard_sandbox::diagnostics::control::{Control, Unanswered};
use runsc_guard_sandbox::diagnostics::usage::Reading;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::sys::identity::Identity;

/// A request that has come in and not been answered.
struct PendingRequest {
    /// Its bytes, until they are sent on.
    request: Option<Request>,
    reply: Reply,
    method: Method,
    /// When it came.
    since: Instant,
}

/// What has just come in, for the outputs that pass it on.
enum Incoming {
    Nothing,
    Response(Response),
    Event(Envelope),
}

impl Incoming {
    fn response(&self) -> Option<&Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Nothing | Self::Event(_) => None,
        }
    }
}

/// How the guard's work ended.
pub(crate) enum End {
    /// Its last container is deleted; whether somebody was sent SIGTERM meanwhile, which may have been the node's.
    Served { told: bool },
    /// With its node; whether all of the sandbox was released.
    NodeGoesDown { released: bool },
}

pub(super) struct Driver {
    guard: Guard,
    start: Instant,
    pending: BTreeMap<RequestId, PendingRequest>,
    upstream: Upstream,
    stats: Stats,
    sigkills: Sigkills,
    publisher: Publisher,
    escalation: effects::Escalation,
    telemetry: Telemetry,
    keeper: Keeper,
    in_hand: InHand,
    /// Somebody was sent SIGTERM: whether that is the node's end.
    watch: Option<JoinHandle<()>>,
    /// It is.
    node_goes_down: bool,
    reports: UnboundedSender<Message>,
    callers: Callers,
    params: Arc<ServeParams>,
}

impl Driver {
    /// The driver of the sandbox that `params` tell of.
    pub(super) fn new(
        params: ServeParams,
        real_shim: Identity,
        publisher: Publisher,
        report: ReportWriter,
        reports: UnboundedSender<Message>,
        callers: Callers,
    ) -> Self {
        let params = Arc::new(params);
        let mut record = params.record();
        record.guard = Identity::me().ok();
        record.real_shim = Some(real_shim);
        Self {
            guard: Guard::new(params.config.policy.clone(), params.sandbox.clone(), params.container.clone()),
            start: Instant::now(),
            pending: BTreeMap::new(),
            upstream: Upstream::new(params.clone(), real_shim, reports.clone()),
            stats: Stats::new(params.config.stats == StatsWay::Direct, reports.clone()),
            sigkills: Sigkills::new(reports.clone()),
            escalation: effects::Escalation::new(&params.config, report.clone(), reports.clone()),
            telemetry: Telemetry::new(report, publisher.clone(), &params),
            publisher,
            keeper: Keeper::new(record),
            in_hand: InHand::new(real_shim),
            watch: None,
            node_goes_down: false,
            reports,
            callers,
            params,
        }
    }

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

    /// Something has happened: told here, and nowhere else.
    fn tell(&mut self, fact: &Fact<'_>) {
        self.telemetry.tell(fact, &|| view(&self.guard, self.start));
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
                effects::await_remnants(stuck, self.reports.clone());
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

    fn forward(&mut self, method: Method, forward: Forward) {
        let Forward { call, mut request, timeout, connection } = forward;
        request.timeout_nano = encode::timeout_nano(timeout);
        self.upstream.send(call, method, request, connection);
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

    fn tell_refuted(&mut self) {
        if let Some(why) = self.stats.refuted() {
            self.tell(&Fact::StatsRefuted(&why));
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

    /// A pid that is told is a hint. Who is below the guard is the sandbox's, and is written down for whoever must end it
    /// when descent tells nothing any more.
    fn learn_sentry(&mut self, method: Method, outcome: &Outcome) {
        let (Method::Create, Outcome::Done(ResponseInfo::Pid(pid))) = (method, outcome) else { return };
        let found = find::at_once(&self.keeper.scope());
        let told = found.iter().map(|one| one.identity).find(|one| u32::try_from(one.pid) == Ok(*pid));
        told.into_iter().for_each(|sentry| self.in_hand.learn(sentry));
        let sentry = self.in_hand.sentry();
        let of_itself = found.iter().filter(|process| process.role == Role::Sentry).map(|one| one.identity);
        self.keeper.seen(sentry, of_itself.filter(|one| sentry != Some(*one)).collect());
    }

    /// Where the sentry is asked, once it is known.
    fn control(&self) -> Option<Control> {
        let (runsc_root, sandbox) = (self.params.runsc_root(), self.params.sandbox.clone());
        self.in_hand.sentry().map(|sentry| Control { runsc_root, sandbox, sentry })
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
            Output::Forward { call, request, timeout, connection } => {
                let pending = self.pending.get_mut(&request);
                if let Some((method, mut request)) =
                    pending.and_then(|pending| Some((pending.method, pending.request.take()?)))
                {
                    request.service = service::TASK_V2.to_owned();
                    let forward = Forward { call, request, timeout, connection };
                    let forward = match (method, connection) {
                        (Method::Stats, _) => self.stats.ask(forward, self.control()),
                        (_, ConnectionKind::Sentry) => self.sigkills.ask(forward, self.control()),
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
                self.in_hand.strike(&step);
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

    fn recall(&self) {
        let question = Question {
            members: self.keeper.scope().members,
            connected: self.callers.count() > 0,
            containerd: self.params.address.clone().into(),
            namespace: self.params.namespace.clone(),
        };
        recall::recall(question, self.reports.clone());
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

    fn publish(&self, publication: Publication, incoming: &Incoming) {
        let envelope = match (publication, incoming) {
            (Publication::AsReceived, Incoming::Event(envelope)) => envelope.clone(),
            (Publication::AsReceived, _) => return,
            (Publication::Exit(process, exit), _) => {
                encode::exit_event(&self.params.namespace, &process, exit)
            }
        };
        self.publisher.publish(envelope);
    }

    fn stop_listening(&self) {
        let socket = &self.params.place.socket;
        if let Err(error) = std::fs::remove_file(socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot unlink {}: {error}", socket.display());
        }
    }

    /// The guard lives as long as its sandbox: who wants it gone deletes the container, or its node goes down. SIGUSR1
    /// makes a shim of containerd's Go runtime dump its goroutines into its log, and so it does here: the real shim's.
    fn signalled(&mut self, kind: SignalKind) {
        if kind == SignalKind::terminate() {
            self.watch_node();
        }
        if kind != SignalKind::user_defined1() {
            let number = kind.as_raw_value();
            log::warn!("signal {number}: the guard ends with the last container of its sandbox, or its node");
            return;
        }
        for shim in self.upstream.shims() {
            if let Err(error) = shim.open().and_then(|shim| shim.send(Signal::SIGUSR1)) {
                log::warn!("cannot pass SIGUSR1 on to the real shim: {error}");
            }
        }
    }

    /// The pod has no real shim any more.
    fn lose_real_shim(&mut self, how: WaitStatus) -> bool {
        if !signals::has_left(how) {
            return self.input(Input::RealShimExited, Incoming::Nothing);
        }
        self.watch_node();
        self.input(Input::RealShimLeft, Incoming::Nothing)
    }

    /// Somebody was sent SIGTERM. Each time it is seen anew whether the node goes down.
    fn watch_node(&mut self) {
        let (containerd, reports) = (self.params.address.clone().into(), self.reports.clone());
        let watch = tokio::spawn(async move {
            if node::goes_down(containerd).await {
                let _ = reports.send(Message::Input(Input::Terminate));
            }
        });
        if let Some(before) = self.watch.replace(watch) {
            before.abort();
        }
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

/// What the state machine knows now.
fn view(guard: &Guard, start: Instant) -> View {
    guard.view(Time(start.elapsed()))
}
