//! A bridge and a subnet for one host's pods: addresses in network namespaces of our own, nothing routed.

use anyhow::{Context as _, Result};
use serde_json::json;
use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

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

/// The node's links that no test made, with their flags.
pub fn links_of_the_node() -> Result<BTreeMap<String, String>> {
    let mut links = BTreeMap::new();
    for entry in std::fs::read_dir("/sys/class/net")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let made_by_a_test = name.starts_with("rg") || name.starts_with("veth");
        if let (false, Ok(flags)) = (made_by_a_test, std::fs::read_to_string(entry.path().join("flags"))) {
            links.insert(name, flags);
        }
    }
    Ok(links)
}
