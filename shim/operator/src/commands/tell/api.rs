//! Kubernetes' API, as a pod reaches it: its address from the environment, its authority and the pod's own token from a
//! folder that is written anew now and then, so both are read for each call. Calls are few: each has its connection.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use http_body_util::{BodyExt as _, Full, Limited};
use humantime::format_rfc3339_seconds;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::node::Wish;

const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A call in all.
const CALL: Duration = Duration::from_secs(10);
/// A token has some kilobytes, a bundle of authorities at most some hundred.
const LARGEST_FILE: u64 = 1 << 20;
/// A Node with all its images has some hundred kilobytes.
const LARGEST_ANSWER: usize = 8 << 20;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Why a call has not done what it was to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is one of that name.
    #[error("it exists")]
    Exists,
    /// There is none.
    #[error("there is no such object")]
    Absent,
    /// The API server's own words.
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
    /// It was not reached.
    #[error("{0:#}")]
    Broken(#[from] anyhow::Error),
}

impl Failure {
    /// Whether the same call would be refused again: not by a server that is busy, nor for what others do meanwhile.
    pub(super) fn is_final(&self) -> bool {
        const FOR_NOW: [StatusCode; 3] =
            [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
        matches!(self, Self::Refused(status, _) if status.is_client_error() && !FOR_NOW.contains(status))
    }
}

/// The API of the cluster that this pod is in.
pub(crate) struct Api {
    host: String,
    port: u16,
    folder: OwnedFd,
}

impl Api {
    /// To be made before another root is entered, in which the pod's own folders are not.
    pub(crate) fn of_pod() -> Result<Self> {
        let env =
            |name: &str| std::env::var(name).with_context(|| format!("no {name}: `tell` runs in a pod"));
        let port = env("KUBERNETES_SERVICE_PORT")?.parse().context("KUBERNETES_SERVICE_PORT")?;
        let folder = open(FOLDER, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let folder = folder.with_context(|| format!("{FOLDER}: has this pod an account?"))?;
        Ok(Self { host: env("KUBERNETES_SERVICE_HOST")?, port, folder })
    }

    /// One that listens on this port of this machine.
    #[cfg(test)]
    pub(super) fn at(port: u16, folder: OwnedFd) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, folder }
    }

    pub(super) async fn create_event(&self, event: &Value) -> Result<(), Failure> {
        let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/events");
        self.call(Method::POST, &path, JSON, Some(event)).await.map(drop)
    }

    /// Makes the node as it should be, where it is not.
    pub(super) async fn fulfil(&self, node: &str, wish: &Wish) -> Result<(), Failure> {
        let path = format!("/api/v1/nodes/{node}");
        if wish.concerns_node() {
            let there = self.call(Method::GET, &path, JSON, None).await?;
            if let Some(patch) = wish.patch(&there) {
                self.call(Method::PATCH, &path, MERGE, Some(&patch)).await?;
            }
        }
        if wish.concerns_status() {
            let path = path + "/status";
            let there = self.call(Method::GET, &path, JSON, None).await?;
            let now = format_rfc3339_seconds(SystemTime::now()).to_string();
            if let Some(patch) = wish.status_patch(&there, &now) {
                self.call(Method::PATCH, &path, STRATEGIC, Some(&patch)).await?;
            }
        }
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let answer = timeout(CALL, self.exchange(method, path, kind, body)).await;
        let (status, text) = answer
            .unwrap_or_else(|_| Err(anyhow!("no answer within {} s", CALL.as_secs())))
            .with_context(|| format!("the API at {}:{}", self.host, self.port))?;
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        match status {
            status if status.is_success() => Ok(value),
            StatusCode::NOT_FOUND => Err(Failure::Absent),
            StatusCode::CONFLICT if value["reason"] == "AlreadyExists" => Err(Failure::Exists),
            status => Err(Failure::Refused(status, value["message"].as_str().unwrap_or_default().to_owned())),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let server = ServerName::try_from(self.host.trim_matches(['[', ']']).to_owned())
            .context("the API's address")?;
        let token = self.read("token")?;
        let stream = TcpStream::connect((self.host.trim_matches(['[', ']']), self.port)).await?;
        let stream = TlsConnector::from(self.trust()?).connect(server, stream).await.context("TLS")?;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = if self.host.contains(':') {
            format!("[{}]", self.host.trim_matches(['[', ']']))
        } else {
            self.host.clone()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{host}:{}", self.port))
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("accept", JSON)
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))?;
        let answer = client.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        Ok((status, body.map_err(|error| anyhow!("{error}"))?.to_bytes()))
    }

    fn trust(&self) -> Result<Arc<ClientConfig>> {
        let text = self.read("ca.crt")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_reader_iter(BufReader::new(text.as_bytes())) {
            roots.add(certificate.context("ca.crt")?).context("ca.crt")?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
        let config = config.with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    fn read(&self, name: &str) -> Result<String> {
        let file = openat(&self.folder, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let file = File::from(file.with_context(|| format!("{FOLDER}/{name}"))?);
        let mut text = String::new();
        file.take(LARGEST_FILE).read_to_string(&mut text).with_context(|| format!("{FOLDER}/{name}"))?;
        Ok(text)
    }
}
