//! Where and how a node is changed: what its operator has said, and for the rest what its distribution has.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::args::Node;
use crate::containerd::search::{Found, Said, find};

/// All sockets are looked at within that.
const LOOKS: Duration = Duration::from_secs(10);

/// The node.
pub(super) struct Site {
    /// Its containerd, and whose that is.
    pub(super) found: Found,
    /// For the programs.
    pub(super) bin_dir: PathBuf,
    /// containerd's configuration, where it was said.
    pub(super) config: Option<PathBuf>,
    /// The command that restarts containerd.
    pub(super) restart: String,
    /// Whether it is to be run.
    pub(super) restarts: bool,
    /// Whether what would hold that up is to be ended first.
    pub(super) reap: bool,
}

impl Site {
    /// Looks.
    pub(super) fn of(node: &Node) -> Self {
        let said = Said { address: node.address.clone(), distribution: node.distribution };
        let found = find(&said, Instant::now() + LOOKS);
        Self {
            bin_dir: node.bin_dir.clone().unwrap_or_else(|| found.distribution.bin_dir().to_owned()),
            config: node.config.clone(),
            restart: node.restart.clone().flatten().unwrap_or_else(|| found.restart.clone()),
            restarts: node.restart.is_some(),
            reap: node.reap,
            found,
        }
    }
}
