//! containerd's API and its CRI, a call at a time. Each has a limit and a connection of its own: one that hangs holds up
//! no other, and is left behind.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// How much longer than containerd itself the client waits for an answer.
const MARGIN: Duration = Duration::from_millis(500);

/// Whom to ask, and about which of its namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// containerd's socket.
    pub(crate) address: PathBuf,
    /// Its namespace.
    pub(crate) namespace: &'static str,
}

impl Client {
    /// One call, for at most `limit`: containerd is told so, too.
    pub(crate) fn call<Q, A, F>(
        &self,
        message: Q,
        limit: Duration,
        method: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Status::internal(format!("no runtime: {error}")))?;
        let ask = async {
            let request = self.request(message, limit)?;
            let channel = self.connect().await?;
            method(channel, request).await.map(Response::into_inner)
        };
        let answer = runtime.block_on(async { timeout(limit + MARGIN, ask).await });
        runtime.shutdown_background();
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))))
    }

    fn request<Q>(&self, message: Q, limit: Duration) -> Result<Request<Q>, Status> {
        let mut request = Request::new(message);
        request.set_timeout(limit);
        let namespace = self.namespace.parse().map_err(|_| Status::invalid_argument("not a namespace"))?;
        request.metadata_mut().insert("containerd-namespace", namespace);
        Ok(request)
    }

    async fn connect(&self) -> Result<Channel, Status> {
        let failed =
            |error: tonic::transport::Error| Status::unavailable(format!("{:#}", anyhow::Error::from(error)));
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.address.display())).map_err(failed)?;
        endpoint.connect().await.map_err(failed)
    }
}
