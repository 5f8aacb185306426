//! A bridge and a subnet for one host's pods: addresses in network namespaces of our own, nothing routed.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Of a link's flags (linux/if.h).
const UP: u32 = 1;

/// Writes the CNI configuration for `bridge` (at most 15 characters) and `subnet`, with its leases under `ipam`.
pub(crate) fn write_config(folder: &Path, ipam: &Path, bridge: &str, subnet: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let config = json!({
        "cniVersion": "1.0.0",
        "name": bridge,
        "plugins": [{
            "type": "bridge",
            "bridge": bridge,
            "ipam": { "type": "host-local", "dataDir": ipam, "ranges": [[{ "subnet": subnet }]] },
        }],
    });
    std::fs::write(folder.join("10-bridge.conflist"), config.to_string())
        .context("cannot write the CNI configuration")
}

/// Removes the bridge, if a pod ever made it be.
pub(crate) fn remove_bridge(bridge: &str) -> Result<()> {
    if !Path::new("/sys/class/net").join(bridge).exists() {
        return Ok(());
    }
    crate::run(Command::new("ip").args(["link", "delete", bridge]), b"", Duration::from_secs(5))?.ok()?;
    Ok(())
}

/// A link of the node's own, which whoever takes a network from a sandbox must leave alone. Others' links may come and go
/// meanwhile: this one is the test's.
#[derive(Debug)]
pub struct NodeLink(String);

impl NodeLink {
    /// A bridge that is up, among the links of the node.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let link = Self(format!("rgl{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let name = link.0.as_str();
        for command in [&["link", "add", name, "type", "bridge"][..], &["link", "set", name, "up"]] {
            crate::run(Command::new("ip").args(command), b"", Duration::from_secs(5))?.ok()?;
        }
        link.assert_untouched()?;
        Ok(link)
    }

    /// It and the loopback are there, and up.
    pub fn assert_untouched(&self) -> Result<()> {
        for name in [self.0.as_str(), "lo"] {
            let file = Path::new("/sys/class/net").join(name).join("flags");
            let flags = std::fs::read_to_string(&file).with_context(|| format!("link {name} is gone"))?;
            let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16)?;
            ensure!(flags & UP != 0, "link {name} of the node was set down: {flags:#x}");
        }
        Ok(())
    }
}

impl Drop for NodeLink {
    fn drop(&mut self) {
        // Ended with the test at the latest; there is nobody to tell.
        let _ = remove_bridge(&self.0);
    }
}
