//! The small HTTP server of `metrics --listen`: GET /metrics and GET /healthz, and nothing else.
//!
//! A scrape surveys anew. One thread does the looking, one look at a time: scrapes that come meanwhile share what
//! it brings, and a look that hangs (even /proc can) is waited for by nobody longer than two seconds, nor begun
//! a second time. The same thread hears the final_metrics of guards, so nothing is locked. Connections are few and short:
//! whoever is slow to ask, or to read, is let go, so a crowd of them costs what [`CONNECTIONS`] cost.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use runsc_guard_node::paths::Base;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::gather::Gatherer;
use super::message::{Bound, Message, clear_away};
use super::samples::Samples;
use super::{expose, final_metrics};
use crate::args::{Address, Exposition};
use crate::screen;
use crate::survey::look;

/// Connections served at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Scrapes and final_metrics that wait for the thread that looks. More scrapes are refused; more final_metrics wait in the
/// kernel's queue.
const WAITING: usize = CONNECTIONS + 64;
/// A connection's time in all, from its first byte to its last.
const CONNECTION: Duration = Duration::from_secs(10);
/// The time in which a request must be there, and a scrape answered.
const REQUEST: Duration = Duration::from_secs(2);
/// What of a request is read at most: hyper's smallest.
const BUFFER: usize = 8192;
/// How long nobody is let in after the kernel has refused to.
const PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

/// Serves until SIGTERM or SIGINT.
pub(super) fn serve(address: &Address, gatherer: Gatherer) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(accept(address, gatherer, &Base::default().final_metrics()));
    // Scrapes under way are let go: whoever ends a server has stopped reading from it.
    runtime.shutdown_background();
    served
}

enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Bound },
}

impl Listener {
    async fn bind(address: &Address) -> Result<Self> {
        let failed = || format!("cannot listen on {address:?}; is another one serving there?");
        match address {
            Address::Tcp(host) => {
                let listener = TcpListener::bind(host).await.with_context(failed)?;
                screen::say(&format!("listening on {}", listener.local_addr()?));
                Ok(Self::Tcp(listener))
            }
            Address::Unix(path) => {
                clear_away(path)?;
                let listener = UnixListener::bind(path).with_context(failed)?;
                let _file = Bound(path.clone());
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                screen::say(&format!("listening on {}", path.display()));
                Ok(Self::Unix { listener, _file })
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(address: &Address, gatherer: Gatherer, final_metrics: &Path) -> Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = Listener::bind(address).await?;
    let (scrapes, waiting) = mpsc::channel(WAITING);
    let look = move || look_for(gatherer, waiting);
    thread::Builder::new().spawn(look).context("cannot make the thread that looks at the node")?;
    let _heard = final_metrics::listen(final_metrics, scrapes.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let arrival = async {
            let place = Arc::clone(&places).acquire_owned().await?;
            anyhow::Ok((place, listener.accept().await))
        };
        let (place, stream) = tokio::select! {
            arrival = arrival => arrival?,
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        };
        match stream {
            Ok(stream) => {
                let scrapes = scrapes.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _ = timeout(CONNECTION, converse(stream, scrapes)).await;
                });
            }
            Err(error) => {
                screen::complain(&format!("runsc-guard: no connections for now: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(stream: Box<dyn Stream>, scrapes: mpsc::Sender<Message>) {
    let answer = service_fn(|request| {
        let scrapes = scrapes.clone();
        async move { Ok::<_, Infallible>(respond(&request, &scrapes).await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(BUFFER);
    // Whatever is wrong with a connection, it is the other side's affair.
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
}

async fn respond(request: &Request<Incoming>, scrapes: &mpsc::Sender<Message>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => scrape(scrapes, format(request.headers())).await,
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok\n"),
        (_, "/metrics" | "/healthz") => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
            answer
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    }
}

/// Prometheus says that it takes OpenMetrics; what says nothing gets what everything reads.
fn format(headers: &HeaderMap) -> Exposition {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let openmetrics = accepts.flat_map(|value| value.split(',')).any(|one| {
        let kind = one.split(';').next().unwrap_or_default().trim();
        kind == "application/openmetrics-text"
    });
    if openmetrics { Exposition::Openmetrics } else { Exposition::Prometheus }
}

async fn scrape(scrapes: &mpsc::Sender<Message>, format: Exposition) -> Answer {
    let (tell, told) = oneshot::channel();
    let late = "the look at this node does not come to an end\n";
    if scrapes.try_send(Message::Scrape(tell)).is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, late);
    }
    let Ok(Ok(samples)) = timeout(REQUEST, told).await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, late);
    };
    match samples.and_then(|samples| exposition(samples, format)) {
        Ok(text) => answer(StatusCode::OK, expose::content_type(format), text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn exposition(samples: Samples, format: Exposition) -> Result<String, String> {
    expose::expose(samples, format).map_err(|error| format!("cannot write the exposition: {error:#}"))
}

fn plain(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.to_owned())
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    answer
}

/// Looks when somebody waits, and tells all who wait by then.
fn look_for(mut gatherer: Gatherer, mut waiting: mpsc::Receiver<Message>) {
    while let Some(message) = waiting.blocking_recv() {
        let first = match message {
            Message::FinalMetrics(word) => {
                gatherer.final_metrics(&word);
                continue;
            }
            Message::Scrape(scrape) => scrape,
        };
        let samples = gatherer.gather(|scope| Ok(look(scope)?)).map_err(|error| format!("{error:#}"));
        let mut scrapes = vec![first];
        while let Ok(message) = waiting.try_recv() {
            match message {
                Message::FinalMetrics(word) => gatherer.final_metrics(&word),
                Message::Scrape(scrape) => scrapes.push(scrape),
            }
        }
        for scrape in scrapes {
            // Who has left needs no answer.
            let _ = scrape.send(samples.clone());
        }
    }
}

#[cfg(test)]
mod tests;
