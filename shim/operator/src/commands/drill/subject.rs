//! What is started, hung and ended: a pod or a task, by its name alone, so that it can be found again by whoever comes
//! later.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use runsc_guard_core::policy::Policy;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::sys::identity::{Identity, Stat};
use runsc_guard_sandbox::sys::kernel::PidFd;
use runsc_guard_sandbox::sys::procfs;
use tonic::Status;

use super::handler::{Chosen, Kind};
use super::room::{self, Record, SHORT};
use super::{pod, task};
use crate::args::Scope;
use crate::commands::reap::until;
use crate::containerd::client::Client;
use crate::survey::model::Found;
use crate::survey::{model::Sandbox, scope, survey};

/// What a start may take: longer than a guard lets one hang.
const START: Duration = Policy::DEFAULT.create_deadline.saturating_add(SHORT);
/// What the kernel may take to stop every thread of a process.
const STOPS: Duration = Duration::from_secs(5);

/// One throw-away sandbox.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    client: Client,
    kind: Kind,
    record: Record,
}

impl Subject {
    /// It need not be there yet, or any more.
    pub(super) fn new(address: &std::path::Path, kind: Kind, record: Record) -> Self {
        let namespace = match kind {
            Kind::Pod => pod::NAMESPACE,
            Kind::Task => task::NAMESPACE,
        };
        Self { client: Client { address: address.to_owned(), namespace }, kind, record }
    }

    /// containerd's namespace that it is in.
    pub(super) fn namespace(&self) -> &'static str {
        self.client.namespace
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.record.name
    }

    /// Starts it; its id.
    pub(super) fn start(&self, handler: &Chosen) -> Result<String> {
        let (name, config_path) = (self.name(), handler.config_path.as_deref());
        let systemd = room::by_systemd(config_path);
        match self.kind {
            Kind::Pod => {
                let started = pod::start(&self.client, name, &handler.name, systemd, START);
                started.map_err(told).context("RunPodSandbox")
            }
            Kind::Task => {
                let rootfs = self.record.rootfs()?;
                let (id, runtime_type) = (name, handler.runtime_type);
                let wanted = task::Wanted { id, runtime_type, config_path, systemd, rootfs: &rootfs };
                task::start(&self.client, &wanted, START).map_err(told).context("starting a task")?;
                Ok(id.to_owned())
            }
        }
    }

    /// What containerd knows of it.
    pub(super) fn ids(&self) -> Result<Vec<String>> {
        let ids = match self.kind {
            Kind::Pod => pod::ids(&self.client, self.name()),
            Kind::Task => task::ids(&self.client, self.name()),
        };
        ids.map_err(told)
    }

    /// Asks containerd to end it.
    pub(super) fn stop(&self, id: &str, limit: Duration) -> Result<()> {
        let stopped = match self.kind {
            Kind::Pod => pod::stop(&self.client, id, limit),
            Kind::Task => task::stop(&self.client, id, limit),
        };
        stopped.map_err(told)
    }

    /// Has containerd forget it.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let removed = match self.kind {
            Kind::Pod => pod::remove(&self.client, id),
            Kind::Task => task::remove(&self.client, id),
        };
        removed.map_err(told)
    }

    /// What is to be seen of it on the node, by the id that containerd gave it or by its own name.
    pub(super) fn look(&self, scope: &Scope) -> Result<Option<Sandbox>> {
        let scope = Scope { namespace: Some(self.namespace().to_owned()), ..scope.clone() };
        let is_it = |found: &Found| match self.kind {
            Kind::Pod => found.pod.as_ref().is_some_and(|pod| pod.uid == self.name()),
            Kind::Task => found.id == self.name(),
        };
        Ok(survey(&scope)?.sandboxes.into_iter().find(|one| is_it(&one.found)))
    }

    /// Nothing more is kept for it.
    pub(super) fn forget(&self) -> Result<()> {
        self.record.remove()
    }
}

/// Its words, and the code where there are none.
fn told(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow::anyhow!("{:?}", status.code()),
        message => anyhow::anyhow!("{message}"),
    }
}

/// The sandbox's own kernel, opened first and proved then: it descends from the shim of this sandbox, its command line
/// names it, and it is younger than this command.
pub(super) fn sentry(found: &Found) -> Result<PidFd> {
    let identity = found.sentry.as_ref().context("it has no sentry")?.identity;
    let sentry = identity.open().context("its sentry has ended")?;
    let is_sentry = |process: &Process| {
        (process.identity, &process.role, process.container()) == (identity, &Role::Sentry, Some(&found.id))
    };
    ensure!(
        found.proved && scope::processes(found).iter().any(is_sentry),
        "its sentry is not proved to be its own"
    );
    Ok(sentry)
}

/// Hangs it: its kernel, by the descriptor that was proved, is stopped, and answers nothing from then on.
pub(super) fn hang(found: &Found, sentry: &PidFd) -> Result<()> {
    let identity = found.sentry.as_ref().context("it has no sentry")?.identity;
    ensure!(identity.start_time >= Identity::me()?.start_time, "its sentry is older than this drill");
    sentry.send(Signal::SIGSTOP).with_context(|| {
        format!("its sentry {} cannot be stopped (in a container this takes CAP_KILL)", identity.pid)
    })?;
    let stopped = until(STOPS, || is_stopped(identity));
    ensure!(stopped, "its sentry {} has not stopped within {STOPS:?}: the node is very busy", identity.pid);
    Ok(())
}

/// Lets it go on.
pub(super) fn resume(sentry: &PidFd) {
    // That it is gone is as good.
    let _ = sentry.send(Signal::SIGCONT);
}

fn is_stopped(identity: Identity) -> bool {
    Stat::of(identity.pid).is_ok_and(|stat| stat.identity == identity && procfs::is_stopped(stat.state))
}
