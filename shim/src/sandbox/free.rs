//! Rung 6: a sandbox that SIGKILL does not end (state D). What it holds for others is taken from it, and it is
//! freed where that costs nobody else anything; nothing of that is claimed to be its end.

use std::time::Instant;

use super::fuse::{self, Connections};
use super::holdings::Holdings;
use super::remnant::Remnant;
use super::teardown::kill_all;
use super::{Scope, network, release};
use crate::config::Config;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Freedoms {
    network: bool,
    fuse: bool,
}

impl From<&Config> for Freedoms {
    fn from(config: &Config) -> Self {
        Self { network: config.release_network, fuse: config.abort_fuse }
    }
}

impl Freedoms {
    /// Where nobody knows what the operator allows.
    pub const NONE: Self = Self { network: false, fuse: false };

    /// Aborts the FUSE connections that hold these remnants up, as far as they are this pod's alone.
    pub fn abort_fuse(self, scope: &Scope, known: &mut Connections, remnants: &[Remnant]) {
        if !self.fuse || remnants.is_empty() {
            return;
        }
        match fuse::abort(scope, known, remnants) {
            Ok(aborted) => {
                for mount in aborted {
                    log::warn!(
                        "FUSE mount {mount} does not answer and is this pod's alone: connection aborted"
                    );
                }
            }
            Err(error) => log::warn!("cannot look for a FUSE mount that hangs: {error}"),
        }
    }

    /// Takes the network from these remnants: they cannot use it any more, and IPAM gives the address away.
    pub fn release_network(self, scope: &Scope, holdings: &Holdings, remnants: &[Remnant]) {
        let Some(path) = holdings.network_namespace().filter(|_| self.network && !remnants.is_empty()) else {
            return;
        };
        match network::release(scope, path, remnants) {
            Ok(done) if done.is_empty() => {}
            Ok(done) => log::warn!("took the network from what cannot be killed: {}", done.join(", ")),
            Err(error) => log::warn!("network namespace {} is left as it is: {error}", path.display()),
        }
    }
}

/// Everything that can be released of a sandbox that lives on: its network, and its bundles' mounts. Kills again
/// what is there; gives what lives all the same.
pub fn take_from_the_living(
    scope: &Scope,
    holdings: &mut Holdings,
    freedoms: Freedoms,
    deadline: Instant,
) -> Vec<Remnant> {
    let remnants = kill_all(scope, Instant::now());
    freedoms.release_network(scope, holdings, &remnants);
    release::release_mounts(holdings, deadline);
    remnants
}
