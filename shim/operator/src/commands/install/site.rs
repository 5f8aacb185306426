//! Where and how a node is changed: what its operator has said, and for the rest what its distribution has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::programs::Place;
use crate::args::Node;
use crate::containerd::search::{Found, Said, find};

/// Where a service is looked for that has no PATH of its own: what systemd gives to one.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// All sockets are looked at within that.
const LOOKS: Duration = Duration::from_secs(10);

/// The node.
pub(super) struct Site {
    /// Its containerd, and whose that is.
    pub(super) found: Found,
    /// Where it looks for shims.
    pub(super) path: OsString,
    /// Where the programs are, or go.
    pub(super) place: Place,
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
        let process = found.containerd.process.as_ref();
        let path = process.map(|process| process.path.clone()).filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| PATH.into());
        Self {
            place: Place::of(node.bin_dir.as_deref(), found.distribution.bin_dir(), &path),
            path,
            config: node.config.clone(),
            restart: node.restart.clone().flatten().unwrap_or_else(|| found.restart.clone()),
            restarts: node.restart.is_some(),
            reap: node.reap,
            found,
        }
    }
}
