//! The guard at work: one task owns the state machine, everything else sends it messages and performs what it
//! puts out.
//!
//! ```text
//! containerd --ttrpc--> inbound --Message--> driver (Guard) --Output--> upstream | publish | effects
//!                          ^  response          ^  Message                  |
//!                          +--------------------+---------------------------+
//! ```

use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use runsc_guard_proto::Envelope;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;

use runsc_guard_node::gc;
use runsc_guard_node::lock::Lock;
use runsc_guard_node::params::ServeParams;

mod arrivals;
mod connection;
mod decode;
mod driver;
mod effects;
mod encode;
mod forward;
mod frames;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod in_hand;
mod inbound;
mod last_words;
mod message;
mod node;
mod probe;
mod publish;
mod real_shim;
mod recall;
mod record;
mod shim_pool;
mod sigkill;
mod signals;
mod socket;
mod stats;
mod telemetry;
mod terms;
mod upstream;
mod watch;

use arrivals::Callers;
use driver::{Driver, End};
use publish::Publisher;
use real_shim::RealShim;
use telemetry::report_writer::ReportWriter;
use terms::Terms;

/// More steps than an answer takes from the driver to the socket.
const LAST_STEPS: usize = 64;
/// How long the last events may take on their way to a containerd that listens.
const LAST_EVENTS: Duration = Duration::from_millis(200);
/// How long the last words of a report may take to the disk.
const LAST_REPORT: Duration = Duration::from_millis(200);
/// How long events that containerd has not taken are kept when nothing else is left: a restart takes seconds.
const KEEPS_EVENTS: Duration = Duration::from_secs(60);
/// How long the guard waits for the pod's lock at its end.
const LEAVING: Duration = Duration::from_millis(20);

/// Serves the sandbox until its last container is deleted, and its last event delivered.
pub fn run(params: ServeParams, listener: StdListener) -> anyhow::Result<()> {
    // Every process of the sandbox descends from the guard, also when the real shim is gone.
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    let fifo = params.bundle.join("log");
    telemetry::log::start(&fifo, &params);
    if let Some(why) = &params.oom_score_refused {
        log::warn!("the OOM score stays as it is, guard and real shim may be killed before others: {why}");
    }
    if let Some(ignored) = &params.annotations_ignored {
        log::warn!("{ignored}");
    }
    let real_shim = real_shim::start(&params).inspect_err(|error| log::error!("{error:#}"))?;
    let place = params.place.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the runtime")?;
    let (address, containerd) = (params.ttrpc_address.clone(), params.address.clone().into());
    let report = ReportWriter::new(&params.config, &params.namespace, &params.sandbox, &params.bundle);
    let served = runtime.block_on(serve(params, listener, real_shim, fifo, report.clone()));
    // Ends every connection. A step of the escalation that was abandoned must not keep the process.
    runtime.shutdown_background();
    // By what lies there `start` and `delete` find this guard, and what is left of its sandbox. One of them that holds
    // the lock waits for this guard's end, and then does it.
    if !matches!(served, Ok((End::NodeGoesDown { released: false }, _)))
        && let Ok(_lock) = Lock::take(&place.lock, Instant::now() + LEAVING)
        && let Err(error) = place.remove()
    {
        // The next one removes it. What containerd has not been told yet nobody but this guard can tell.
        log::error!("cannot remove {}: {error}", place.folder.display());
    }
    report.close(LAST_REPORT);
    let told = match served? {
        (End::Served { told }, events) => deliver_rest(address, events, containerd, told),
        // Nobody will hear it, and the node waits.
        (End::NodeGoesDown { .. }, _) => return Ok(()),
    };
    // Last: it takes its time where many guards were killed, and nobody waits for it.
    gc::sweep(&place);
    told
}

/// Nothing is left but to tell a containerd that comes back, or is busy, what it has not heard yet; unless the node goes
/// down, of which somebody may have been `told` already (rule 10).
fn deliver_rest(
    address: String,
    events: Vec<Envelope>,
    containerd: PathBuf,
    told: bool,
) -> anyhow::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let terminations = signal(SignalKind::terminate())?;
        let publisher = Publisher::start(address);
        events.into_iter().for_each(|event| publisher.publish(event));
        tokio::select! {
            () = publisher.flush(KEEPS_EVENTS) => {}
            () = node::end(terminations, containerd, told) => {}
        }
        Ok(())
    })
}

async fn serve(
    params: ServeParams,
    listener: StdListener,
    real_shim: RealShim,
    fifo: PathBuf,
    report: ReportWriter,
) -> anyhow::Result<(End, Vec<Envelope>)> {
    let (reports, messages) = unbounded_channel();
    listener.set_nonblocking(true)?;
    real_shim.events.set_nonblocking(true)?;
    let callers = Callers::none(reports.clone());
    let terms = Terms::of(&params);
    inbound::serve(UnixListener::from_std(listener)?, reports.clone(), callers.clone(), terms);
    publish::endpoint(UnixListener::from_std(real_shim.events)?, reports.clone());
    telemetry::log::relay(real_shim.log, &fifo, report.clone())?;
    let publisher = Publisher::start(params.ttrpc_address.clone());
    let driver = Driver::new(params, real_shim.identity, publisher.clone(), report, reports, callers);
    // A task of its own: what wakes the future that the runtime itself waits for makes it look at every socket first.
    let end = tokio::spawn(driver.run(messages)).await.context("the driver")??;
    // The last answer is on its way through tasks that are ready to run; nobody is waited for. A connection
    // that stays open would only collect requests, where its end tells containerd what it wants to know.
    for _ in 0..LAST_STEPS {
        tokio::task::yield_now().await;
    }
    publisher.flush(LAST_EVENTS).await;
    Ok((end, publisher.rest()))
}
