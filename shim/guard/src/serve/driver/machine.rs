//! The state machine and all that it moves: what each part does by itself, and no input follows from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use runsc_guard_core::guard::Guard;
use runsc_guard_core::io::{Input, Method, Outcome, Publication, RequestId, ResponseInfo};
use runsc_guard_core::time::Time;
use runsc_guard_core::view::View;
use runsc_guard_proto::Envelope;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use ttrpc::{Request, Response};

use super::super::arrivals::Callers;
use super::super::connection::Reply;
use super::super::forward::Forward;
use super::super::in_hand::InHand;
use super::super::message::Message;
use super::super::publish::Publisher;
use super::super::recall::{self, Question};
use super::super::record::Keeper;
use super::super::sigkill::Sigkills;
use super::super::stats::Stats;
use super::super::telemetry::Telemetry;
use super::super::telemetry::fact::Fact;
use super::super::telemetry::report_writer::ReportWriter;
use super::super::upstream::Upstream;
use super::super::{effects, encode, node};
use runsc_guard_node::config::StatsWay;
use runsc_guard_node::params::ServeParams;
use runsc_guard_sandbox::diagnostics::control::Control;
use runsc_guard_sandbox::processes::find;
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::sys::identity::Identity;

/// A request that has come in and not been answered.
pub(super) struct PendingRequest {
    /// Its bytes, until they are sent on.
    pub(super) request: Option<Request>,
    pub(super) reply: Reply,
    pub(super) method: Method,
    /// When it came.
    pub(super) since: Instant,
}

/// What has just come in, for the outputs that pass it on.
pub(super) enum Incoming {
    Nothing,
    Response(Response),
    Event(Envelope),
}

impl Incoming {
    pub(super) fn response(&self) -> Option<&Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Nothing | Self::Event(_) => None,
        }
    }
}

/// The state machine, and all that it moves.
pub(crate) struct Driver {
    pub(super) guard: Guard,
    pub(super) start: Instant,
    pub(super) pending: BTreeMap<RequestId, PendingRequest>,
    pub(super) upstream: Upstream,
    pub(super) stats: Stats,
    pub(super) sigkills: Sigkills,
    pub(super) publisher: Publisher,
    pub(super) escalation: effects::Escalation,
    pub(super) telemetry: Telemetry,
    pub(super) keeper: Keeper,
    pub(super) in_hand: InHand,
    /// Somebody was sent SIGTERM: whether that is the node's end.
    pub(super) watch: Option<JoinHandle<()>>,
    /// It is.
    pub(super) node_goes_down: bool,
    pub(super) reports: UnboundedSender<Message>,
    pub(super) callers: Callers,
    pub(super) params: Arc<ServeParams>,
}

impl Driver {
    /// The driver of the sandbox that `params` tell of.
    pub(crate) fn new(
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

    /// Something has happened: told here, and nowhere else.
    pub(super) fn tell(&mut self, fact: &Fact<'_>) {
        self.telemetry.tell(fact, &|| view(&self.guard, self.start));
    }

    pub(super) fn tell_refuted(&mut self) {
        if let Some(why) = self.stats.refuted() {
            self.tell(&Fact::StatsRefuted(&why));
        }
    }

    /// A pid that is told is a hint. Who is below the guard is the sandbox's, and is written down for whoever must end it
    /// when descent tells nothing any more.
    pub(super) fn learn_sentry(&mut self, method: Method, outcome: &Outcome) {
        let (Method::Create, Outcome::Done(ResponseInfo::Pid(pid))) = (method, outcome) else { return };
        let found = find::at_once(&self.keeper.scope());
        let told = found.iter().map(|one| one.identity).find(|one| u32::try_from(one.pid) == Ok(*pid));
        told.into_iter().for_each(|sentry| self.in_hand.learn(sentry));
        let sentry = self.in_hand.sentry();
        let of_itself = found.iter().filter(|process| process.role == Role::Sentry).map(|one| one.identity);
        self.keeper.seen(sentry, of_itself.filter(|one| sentry != Some(*one)).collect());
    }

    /// Where the sentry is asked, once it is known.
    pub(super) fn control(&self) -> Option<Control> {
        let (runsc_root, sandbox) = (self.params.runsc_root(), self.params.sandbox.clone());
        self.in_hand.sentry().map(|sentry| Control { runsc_root, sandbox, sentry })
    }

    pub(super) fn forward(&mut self, method: Method, forward: Forward) {
        let Forward { call, mut request, timeout, connection } = forward;
        request.timeout_nano = encode::timeout_nano(timeout);
        self.upstream.send(call, method, request, connection);
    }

    pub(super) fn publish(&self, publication: Publication, incoming: &Incoming) {
        let envelope = match (publication, incoming) {
            (Publication::AsReceived, Incoming::Event(envelope)) => envelope.clone(),
            (Publication::AsReceived, _) => return,
            (Publication::Exit(process, exit), _) => {
                encode::exit_event(&self.params.namespace, &process, exit)
            }
        };
        self.publisher.publish(envelope);
    }

    pub(super) fn recall(&self) {
        let question = Question {
            members: self.keeper.scope().members,
            connected: self.callers.count() > 0,
            containerd: self.params.address.clone().into(),
            namespace: self.params.namespace.clone(),
        };
        recall::recall(question, self.reports.clone());
    }

    pub(super) fn stop_listening(&self) {
        let socket = &self.params.place.socket;
        if let Err(error) = std::fs::remove_file(socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot unlink {}: {error}", socket.display());
        }
    }

    /// The guard lives as long as its sandbox: who wants it gone deletes the container, or its node goes down. SIGUSR1
    /// makes a shim of containerd's Go runtime dump its goroutines into its log, and so it does here: the real shim's.
    pub(super) fn signalled(&mut self, kind: SignalKind) {
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

    /// Somebody was sent SIGTERM. Each time it is seen anew whether the node goes down.
    pub(super) fn watch_node(&mut self) {
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
}

/// What the state machine knows now.
pub(super) fn view(guard: &Guard, start: Instant) -> View {
    guard.view(Time(start.elapsed()))
}
