//! Where cells run, one after the other: a host of their own, with a neighbour that must not notice.

use super::{Cell, gate::Gate};
use anyhow::Result;
use harness::{Cri, Handler, Host, Neighbour, Parts, leaks::Resources, process::Process};
use rustix::process::Signal;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Bundles and what else containerd keeps of running containers; runsc's states; the guard's reports.
const DISKS: [&str; 3] = ["s", "r", "reports"];
/// Enough for all of that many times over.
const DISK_MIB: u32 = 32;
/// The handler of what is hurt.
pub(super) const HANDLER: &str = "subject";

/// A host for one cell at a time.
#[derive(Debug)]
pub struct Bench {
    host: Arc<Host>,
    cri: Cri,
    gate: Gate,
    guarded: bool,
    neighbour: Neighbour,
    before: Resources,
}

impl Bench {
    /// Starts a host, guarded or not, with these parts.
    pub fn start(parts: &Parts, guarded: bool) -> Result<Self> {
        let handler = if guarded { Handler::guarded } else { Handler::unguarded };
        let host = Host::builder()
            .parts(parts.clone())
            .handler(handler(HANDLER))
            .handler(handler("neighbour"))
            .small_disks(&DISKS, DISK_MIB)
            .start()?;
        let gate = Gate::new(&host)?;
        let neighbour = Neighbour::start(&host)?;
        let before = Resources::of(&host);
        Ok(Self { cri: host.cri()?, host: Arc::new(host), gate, guarded, neighbour, before })
    }

    /// The host, to be ended in a hurry.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Whether the guard stands before the real shim.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Fails if the neighbour has noticed anything.
    pub fn assert_neighbour_untouched(&self) -> Result<()> {
        self.neighbour.assert_untouched(&self.host)
    }

    pub(super) fn cri(&self) -> &Cri {
        &self.cri
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn neighbour(&self) -> &Neighbour {
        &self.neighbour
    }

    pub(super) fn disks(&self) -> Vec<PathBuf> {
        DISKS.iter().map(|name| self.host.path().join(name)).collect()
    }

    /// The handler as this cell wants it.
    pub(super) fn configure(&self, cell: &Cell) -> Result<Handler> {
        let plain = if self.guarded { Handler::guarded(HANDLER) } else { Handler::unguarded(HANDLER) };
        let flags = cell.fault.runsc_flags();
        let handler = flags.iter().fold(plain, |handler, (key, value)| handler.runsc_flag(key, value));
        let handler = cell.deadlines.configure(handler.runsc(self.gate.script()));
        self.gate.clear()?;
        self.host.add_handler(&handler)?;
        Ok(handler)
    }

    /// What is here and was not when it started.
    pub(super) fn residue(&self) -> Resources {
        let mut left = Resources::of(&self.host).since(&self.before);
        if !left.processes.is_empty() {
            let neighbours = self.neighbour.processes();
            let is_its = |p: &Process| neighbours.iter().any(|n| (n.pid, n.started) == (p.pid, p.started));
            // What has ended since the first look may have been the neighbour's, too.
            left.processes.retain(|process| process.is_alive() && !is_its(process));
        }
        left
    }

    /// Ends what a cell has left, so that the next one starts afresh; an error if that is not possible. What
    /// the unguarded shim leaves behind but for processes stays, and is not the next one's.
    pub(super) fn sweep(&mut self) -> Result<()> {
        self.gate.clear()?;
        let looked_at =
            |left: &Resources| if self.guarded { left.is_empty() } else { left.processes.is_empty() };
        harness::eventually(Duration::from_secs(10), "nothing is left of the cell", || {
            self.host.traces().thaw();
            let left = self.residue();
            for process in &left.processes {
                // It may die between the look and the signal: the next look tells.
                let _ = process.signal(Signal::KILL);
            }
            looked_at(&left).then_some(())
        })?;
        // It may itself have been lost.
        self.host.ctr().tasks(Duration::from_secs(10))?;
        if !self.guarded {
            self.before = Resources::of(&self.host);
        }
        self.neighbour.assert_alive()
    }
}
