//! A container's record in containerd, made anew with options that `ctr` cannot say.

use anyhow::{Context as _, Result};
use std::{collections::HashMap, path::Path, time::Duration};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

/// What a handler's `options` table becomes when CRI hands it on.
const OPTIONS: &str = "runtimeoptions.v1.Options";
/// `TypeUrl` in such a table.
const RUNSC_OPTIONS: &str = "io.containerd.runsc.v1.options";
const LIMIT: Duration = Duration::from_secs(10);

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    config_path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Runtime {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    options: Option<Any>,
}

/// `containerd.services.containers.v1.Container`, but for the times, which containerd sets.
#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(message, optional, tag = "4")]
    runtime: Option<Runtime>,
    #[prost(message, optional, tag = "5")]
    spec: Option<Any>,
    #[prost(string, tag = "6")]
    snapshotter: String,
    #[prost(string, tag = "7")]
    snapshot_key: String,
    #[prost(map = "string, message", tag = "10")]
    extensions: HashMap<String, Any>,
}

/// Asks for a container, or for its end: both are a message with the id alone.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    id: String,
}

/// Carries a container, in either direction.
#[derive(Clone, PartialEq, prost::Message)]
struct Carries {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

/// Gives the container `id`, which has no task yet, the configuration at `path`, named as CRI names it. (Options are
/// not to be changed once they are there: the record goes and comes back. Its snapshot must be safe from the garbage
/// collection meanwhile.)
pub(crate) fn name_configuration(socket: &Path, namespace: &str, id: &str, path: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?.timeout(LIMIT);
        let mut client = Containers { grpc: Grpc::new(endpoint.connect().await?), namespace };
        let named = Named { id: id.to_owned() };
        let answer: Carries = client.call("Get", named.clone()).await?;
        let mut container = answer.container.context("containerd answers without the container")?;
        let options =
            Options { type_url: RUNSC_OPTIONS.to_owned(), config_path: path.to_string_lossy().into_owned() };
        let value = prost::Message::encode_to_vec(&options);
        let runtime = container.runtime.as_mut().context("a container without a runtime")?;
        runtime.options = Some(Any { type_url: OPTIONS.to_owned(), value });
        let _: () = client.call("Delete", named).await?;
        let _: Carries = client.call("Create", Carries { container: Some(container) }).await?;
        Ok(())
    })
}

/// A client of containerd's service for records of containers.
struct Containers<'a> {
    grpc: Grpc<tonic::transport::Channel>,
    namespace: &'a str,
}

impl Containers<'_> {
    async fn call<Q, A>(&mut self, method: &str, message: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = PathAndQuery::from_maybe_shared(format!(
            "/containerd.services.containers.v1.Containers/{method}"
        ))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.parse()?);
        self.grpc.ready().await?;
        let answer = self.grpc.unary(request, path, ProstCodec::default()).await;
        Ok(answer.with_context(|| format!("Containers/{method}"))?.into_inner())
    }
}
