//! The task API spoken directly to a shim's socket, for what `ctr` and CRI cannot ask or hide: single requests,
//! their exact status codes, timeouts shorter than any client's.

use crate::Host;
use anyhow::{Result, bail};
use protobuf::Message;
use std::time::Duration;
use ttrpc::asynchronous::Client;

/// A connection to the shim (real or guard) that containerd talks to for one container.
pub struct TaskClient {
    runtime: tokio::runtime::Runtime,
    client: Client,
    service: String,
}

impl TaskClient {
    /// Connects to the address in the bundle, as a restarted containerd would.
    pub fn connect(host: &Host, namespace: &str, id: &str) -> Result<Self> {
        let (address, version) = host.shim_address(namespace, id)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = match runtime.block_on(Client::connect(&address)) {
            Ok(client) => client,
            Err(error) => bail!("cannot connect to {address}: {error}"),
        };
        Ok(Self { runtime, client, service: format!("containerd.task.v{version}.Task") })
    }

    /// One request, with `limit` as its timeout on the wire too; the error is the status of the reply.
    pub fn call<Q: Message, A: Message>(
        &self,
        method: &str,
        message: &Q,
        limit: Duration,
    ) -> Result<A, ttrpc::Error> {
        let payload = message.write_to_bytes().map_err(|error| ttrpc::Error::Others(error.to_string()))?;
        let request = ttrpc::Request {
            service: self.service.clone(),
            method: method.to_owned(),
            timeout_nano: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
            payload,
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.request(request))?;
        A::parse_from_bytes(&answer.payload).map_err(|error| ttrpc::Error::Others(error.to_string()))
    }
}

/// The status code of a refusal, `None` for anything that is not one.
pub fn code(error: &ttrpc::Error) -> Option<ttrpc::Code> {
    match error {
        ttrpc::Error::RpcStatus(status) => Some(status.code()),
        _ => None,
    }
}
