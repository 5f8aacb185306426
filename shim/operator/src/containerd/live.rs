//! One question to containerd's CRI: which handlers it knows, right now, whatever its files say. This is `Status`
//! with `verbose` (k8s.io/cri-api, runtime/v1): of its answer only the map `info` is read, where containerd tells
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
use runsc_guard_proto::protobuf::CodedInputStream;
use runsc_guard_proto::protobuf::rt::skip_field_for_tag;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

const STATUS: &str = "http://localhost/runtime.v1.RuntimeService/Status";
/// `StatusRequest{verbose: true}` behind what gRPC puts before a message: not compressed, two bytes long.
const REQUEST: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];
/// What gRPC puts before a message.
const PREFIX: usize = 5;
/// containerd's tag of `StatusResponse.info`, of its key and of its value: fields 2, 1, 2, all by length.
const INFO: u32 = 2 << 3 | 2;
const KEY: u32 = 1 << 3 | 2;
const VALUE: u32 = 2 << 3 | 2;

/// A handler, as containerd has it in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Handler {
    /// Its runtime type.
    pub(crate) runtime_type: String,
    /// What it passes to the shim.
    pub(crate) options: Option<Options>,
}

impl Handler {
    /// Whether it is of this type with this file.
    pub(crate) fn is(&self, runtime_type: &str, config_path: &Path) -> bool {
        let path = self.options.as_ref().map(|options| Path::new(&options.config_path));
        self.runtime_type == runtime_type && path == Some(config_path)
    }
}

/// See [`Handler::options`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Options {
    /// gVisor's and the guard's file.
    pub(crate) config_path: String,
}

#[derive(Deserialize)]
struct Config {
    containerd: Containerd,
}

#[derive(Deserialize)]
struct Containerd {
    runtimes: BTreeMap<String, Handler>,
}

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
        .body(Full::new(Bytes::from_static(REQUEST)))?;
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
        status => bail!("{} (code {})", told("grpc-message").unwrap_or_default(), status.unwrap_or("none")),
    }
}

/// The handlers in a `StatusResponse`.
fn read(body: &[u8]) -> Result<BTreeMap<String, Handler>> {
    ensure!(body.first() == Some(&0), "the answer is empty or compressed");
    let mut message = CodedInputStream::from_bytes(body.get(PREFIX..).unwrap_or_default());
    while let Some(tag) = message.read_raw_tag_or_eof()? {
        if tag != INFO {
            skip_field_for_tag(tag, &mut message)?;
            continue;
        }
        let (key, value) = entry(&message.read_bytes()?)?;
        if key == "config" {
            return Ok(serde_json::from_str::<Config>(&value)?.containerd.runtimes);
        }
    }
    bail!("it does not tell its configuration")
}

fn entry(bytes: &[u8]) -> Result<(String, String)> {
    let mut message = CodedInputStream::from_bytes(bytes);
    let mut entry = (String::new(), String::new());
    while let Some(tag) = message.read_raw_tag_or_eof()? {
        match tag {
            KEY => entry.0 = message.read_string()?,
            VALUE => entry.1 = message.read_string()?,
            tag => skip_field_for_tag(tag, &mut message)?,
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field by length.
    fn field(tag: u32, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "needs a longer varint");
        [&[u8::try_from(tag).unwrap(), length], content].concat()
    }

    fn answer(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0], &length.to_be_bytes()[..], message].concat()
    }

    fn info(key: &str, value: &str) -> Vec<u8> {
        field(INFO, &[field(KEY, key.as_bytes()), field(VALUE, value.as_bytes())].concat())
    }

    #[test]
    fn handlers_are_read_from_the_configuration_that_it_tells() {
        let runtimes = r#"{"h":{"runtimeType":"t","options":{"ConfigPath":"/c"}},"runc":{}}"#;
        let config = format!(r#"{{"containerd":{{"runtimes":{runtimes}}}}}"#);
        let status = field(1 << 3 | 2, b"\x0a\x00");
        let read = read(&answer(&[status, info("other", "{"), info("config", &config)].concat())).unwrap();
        assert!(read["h"].is("t", Path::new("/c")) && !read["h"].is("t", Path::new("/d")));
        assert!(!read["runc"].is("", Path::new("")), "no options are no empty path");
    }

    #[test]
    fn what_is_no_such_answer_is_an_error() {
        for wrong in
            [&b""[..], &[1, 0, 0, 0, 0], &answer(b""), &answer(&info("config", "{")), &answer(b"\x12\xff")]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
