//! One question to containerd's CRI: which handlers it knows, right now, whatever its files say. This is `Status`
//! with `verbose` (k8s.io/cri-api, runtime/v1): of its answer only the map `info` is read, where containerd gives
//! its configuration in JSON. One call needs no gRPC library: a request is a POST whose body is one message behind
//! five bytes, and so is the answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use runsc_guard_proto::cri::{StatusRequest, StatusResponse};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) use super::handler::Runtime as Handler;

const STATUS: &str = "http://localhost/runtime.v1.RuntimeService/Status";
/// gRPC puts five bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

#[derive(Deserialize)]
struct Config {
    containerd: Containerd,
}

#[derive(Deserialize)]
struct Containerd {
    runtimes: BTreeMap<String, Handler>,
}

/// containerd answers, and has no CRI: that is no matter of waiting, since it answers nobody before all plugins are loaded.
#[derive(Debug, thiserror::Error)]
#[error(
    "containerd answers and has no CRI, so that no pod starts: the plugin is switched off or did not load; \
     `ctr plugins ls` and containerd's log say why"
)]
pub(crate) struct NoCri;

/// gRPC's code for what nobody serves.
const UNIMPLEMENTED: &str = "12";

/// The handlers of the containerd that listens at `address`, if its CRI answers within `limit`.
pub(crate) fn handlers(address: &Path, limit: Duration) -> Result<BTreeMap<String, Handler>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { timeout(limit, ask(address)).await });
    runtime.shutdown_background();
    answer
        .unwrap_or_else(|_| bail!("no answer within {limit:?}"))
        .with_context(|| format!("the CRI at {}", address.display()))
}

async fn ask(address: &Path) -> Result<BTreeMap<String, Handler>> {
    let stream = TokioIo::new(UnixStream::connect(address).await?);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let request = Request::post(STATUS)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed(&StatusRequest { verbose: true })?)))?;
    let answer = client.send_request(request).await?;
    let headers = answer.headers().clone();
    let body = answer.into_body().collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let told = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match told("grpc-status").as_deref() {
        Some("0") => read(&body.to_bytes()),
        Some(UNIMPLEMENTED) => bail!(NoCri),
        status => bail!("{} (code {})", told("grpc-message").unwrap_or_default(), status.unwrap_or("none")),
    }
}

/// A message as gRPC sends it, not compressed.
fn framed(message: &impl Message) -> Result<Vec<u8>> {
    let length = u32::try_from(message.encoded_len())?;
    Ok([&[0], &length.to_be_bytes()[..], &message.encode_to_vec()].concat())
}

/// The handlers in a `StatusResponse`.
fn read(body: &[u8]) -> Result<BTreeMap<String, Handler>> {
    ensure!(body.first() == Some(&0), "the answer is empty or compressed");
    let status = StatusResponse::decode(body.get(PREFIX..).unwrap_or_default())?;
    let config = status.info.get("config").context("the answer has no configuration")?;
    Ok(serde_json::from_str::<Config>(config)?.containerd.runtimes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_proto::cri::RuntimeStatus;

    fn answer(info: &[(&str, &str)]) -> Vec<u8> {
        let info = info.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        framed(&StatusResponse { status: Some(RuntimeStatus::default()), info, ..StatusResponse::default() })
            .unwrap()
    }

    #[test]
    fn the_request_is_what_containerd_expects() {
        assert_eq!(framed(&StatusRequest { verbose: true }).unwrap(), [0, 0, 0, 0, 2, 0x08, 0x01]);
    }

    #[test]
    fn handlers_are_read_from_the_configuration_that_it_tells() {
        let runtimes = r#"{"h":{"runtimeType":"t","options":{"ConfigPath":"/c"}},"runc":{}}"#;
        let config = format!(r#"{{"containerd":{{"runtimes":{runtimes}}}}}"#);
        let read = read(&answer(&[("other", "{"), ("config", &config)])).unwrap();
        assert_eq!((read["h"].kind(), read["h"].config_path()), ("t", Some(Path::new("/c"))));
        assert_eq!(read["runc"].config_path(), None, "no options are no empty path");
    }

    #[test]
    fn what_is_no_such_answer_is_an_error() {
        for wrong in
            [&b""[..], &[1, 0, 0, 0, 0], &answer(&[]), &answer(&[("config", "{")]), b"\0\0\0\0\x02\x12\xff"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
