//! The task API spoken directly to a shim's socket, for what `ctr` and CRI cannot ask or hide: single requests,
//! their exact status codes, timeouts shorter than any client's.

use crate::Host;
use anyhow::{Context as _, Result, bail};
use containerd_shim_protos::{api, protobuf::well_known_types::any::Any};
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
        Self::at(&address, version)
    }

    /// Connects to an address, to speak this version of the task API.
    pub fn at(address: &str, version: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = match runtime.block_on(Client::connect(address)) {
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
        let request = self.request(method, message, i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX))?;
        let answer = self.runtime.block_on(self.client.request(request))?;
        A::parse_from_bytes(&answer.payload).map_err(|error| ttrpc::Error::Others(error.to_string()))
    }

    /// One request without a timeout, given up a moment later as a client in Go gives one up: the shim is not told.
    pub fn give_up<Q: Message>(&self, method: &str, message: &Q) -> Result<(), ttrpc::Error> {
        let request = self.request(method, message, 0)?;
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(Duration::from_millis(1), self.client.request(request)).await;
        });
        Ok(())
    }

    fn request<Q: Message>(
        &self,
        method: &str,
        message: &Q,
        timeout_nano: i64,
    ) -> Result<ttrpc::Request, ttrpc::Error> {
        let payload = message.write_to_bytes().map_err(|error| ttrpc::Error::Others(error.to_string()))?;
        let (service, method) = (self.service.clone(), method.to_owned());
        Ok(ttrpc::Request { service, method, timeout_nano, payload, ..Default::default() })
    }

    /// Adds an exec, to be started.
    pub fn add_exec(&self, id: &str, exec: &str, args: &[&str], limit: Duration) -> Result<(), ttrpc::Error> {
        let process = serde_json::json!({
            "args": args, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        });
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_string().into_bytes(),
            ..Any::default()
        };
        let mut add = api::ExecProcessRequest { spec: Some(spec).into(), ..Default::default() };
        (add.id, add.exec_id) = (id.to_owned(), exec.to_owned());
        self.call::<_, api::Empty>("Exec", &add, limit).map(drop)
    }

    /// Runs `args` in the container to its end, each request within `limit`, and answers its status.
    pub fn exec(&self, id: &str, exec: &str, args: &[&str], limit: Duration) -> Result<u32> {
        self.add_exec(id, exec, args, limit).context("Exec")?;
        let (id, exec_id) = (id.to_owned(), exec.to_owned());
        let start = api::StartRequest { id: id.clone(), exec_id: exec_id.clone(), ..Default::default() };
        let _: api::StartResponse = self.call("Start", &start, limit).context("Start")?;
        let wait = api::WaitRequest { id: id.clone(), exec_id: exec_id.clone(), ..Default::default() };
        let exit: api::WaitResponse = self.call("Wait", &wait, limit).context("Wait")?;
        let delete = api::DeleteRequest { id, exec_id, ..Default::default() };
        let _: api::DeleteResponse = self.call("Delete", &delete, limit).context("Delete")?;
        Ok(exit.exit_status)
    }
}

/// The status code of a refusal, `None` for anything that is not one.
pub fn code(error: &ttrpc::Error) -> Option<ttrpc::Code> {
    match error {
        ttrpc::Error::RpcStatus(status) => Some(status.code()),
        _ => None,
    }
}
