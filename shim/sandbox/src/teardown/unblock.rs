//! Step 6: a sandbox that SIGKILL does not end (state D). What it holds for others is taken from it, and it is
//! freed where that costs nobody else anything; nothing of that is claimed to be its end.

use std::time::Instant;

use crate::Scope;
use crate::resources::fuse::{self, Connections, Watched};
use crate::resources::held::Resources;
use crate::resources::network;
use crate::teardown::release;
use crate::teardown::stuck::StuckProcess;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct UnblockPolicy {
    /// To take the network from what is left of a sandbox (`release_network`).
    pub network: bool,
    /// To abort a FUSE connection that hangs (`abort_fuse`).
    pub fuse: bool,
}

impl UnblockPolicy {
    /// Where nobody knows what the operator allows.
    pub const NONE: Self = Self { network: false, fuse: false };

    /// Watches the FUSE connections that may hold these processes up, and aborts those that hang, as far as they are this
    /// pod's alone ([`fuse::watch`]). Says what it has seen and done, to the log as well, and whether it ought to go on.
    pub fn watch_fuse(
        self,
        scope: &Scope,
        known: &mut Connections,
        stuck: &[StuckProcess],
        until: Instant,
    ) -> (Vec<String>, bool) {
        if !self.fuse || stuck.is_empty() {
            return (Vec::new(), false);
        }
        let watched = fuse::watch(scope, known, stuck, until).unwrap_or_else(|error| {
            log::warn!("cannot look for a FUSE mount that hangs: {error}");
            Watched::default()
        });
        let aborted = watched.aborted.iter().map(|mount| {
            format!("FUSE mount {mount} does not answer and is this pod's alone: connection aborted")
        });
        let spared = watched.spared.iter().map(|mount| {
            format!("FUSE mount {mount} does not answer and is not this pod's alone: left as it is")
        });
        let lines: Vec<String> = aborted.chain(spared).collect();
        lines.iter().for_each(|line| log::warn!("{line}"));
        (lines, watched.undecided)
    }

    /// Takes the network from these processes: they cannot use it any more, and IPAM gives the address away. Says what
    /// it has done, to the log as well.
    pub fn release_network(
        self,
        scope: &Scope,
        resources: &Resources,
        stuck: &[StuckProcess],
    ) -> Option<String> {
        let path = resources.network_namespace().filter(|_| self.network && !stuck.is_empty())?;
        match network::release(scope, path, stuck) {
            Ok(done) if done.is_empty() => None,
            Ok(done) => {
                let line = format!("took the network from what cannot be killed: {}", done.join(", "));
                log::warn!("{line}");
                Some(line)
            }
            Err(error) => {
                log::warn!("network namespace {} is left as it is: {error}", path.display());
                None
            }
        }
    }
}

/// Everything that can be released of a sandbox that lives on in these processes: its network, and its bundles' mounts.
/// Says what was taken.
pub fn take_from_the_living(
    scope: &Scope,
    resources: &mut Resources,
    policy: UnblockPolicy,
    stuck: &[StuckProcess],
    deadline: Instant,
) -> Option<String> {
    let taken = policy.release_network(scope, resources, stuck);
    release::release_mounts(resources, deadline);
    taken
}
