//! The one image that every scenario runs: busybox and `files` in an OCI archive, written here, so that nothing is
//! pulled.

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{fs::File, path::Path};

/// The image's name; it also serves as the pause image.
pub const NAME: &str = "localhost/runsc-guard/busybox:1";

/// What a scenario may call without a path.
const APPLETS: &[&str] = &[
    "sh", "sleep", "cat", "echo", "true", "false", "kill", "stty", "ps", "dd", "yes", "env", "id", "touch",
    "ls", "tty", "tr", "wc",
];

/// The program `files`, see `guest/files.rs`.
const FILES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/files"));

/// Writes the archive; `ctr images import` takes it.
pub fn write_archive(path: &Path) -> Result<()> {
    let busybox =
        std::fs::read("/bin/busybox").context("busybox is missing: install Debian's busybox-static")?;
    let layer = layer(&busybox)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({ "io.containerd.image.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();

    let mut archive = tar::Builder::new(File::create(path)?);
    file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file(&mut archive, "index.json", 0o644, index.as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        let name = digest(blob).replace(':', "/");
        file(&mut archive, &format!("blobs/{name}"), 0o644, blob)?;
    }
    archive.finish()?;
    Ok(())
}

fn layer(busybox: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in ["bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "mnt/"] {
        let mut header = header(0o755, 0);
        header.set_entry_type(tar::EntryType::Directory);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    file(&mut layer, "bin/busybox", 0o755, busybox)?;
    file(&mut layer, "bin/files", 0o755, FILES)?;
    for applet in APPLETS {
        let mut header = header(0o777, 0);
        header.set_entry_type(tar::EntryType::Symlink);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    file(&mut layer, "etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;
    Ok(layer.into_inner()?)
}

/// Of an entry of an archive: root's, and of no time.
pub fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header
}

/// Adds a file.
pub fn file<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    archive.append_data(&mut header(mode, bytes.len()), name, bytes)?;
    Ok(())
}

/// The name by which a blob is found.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What a manifest says of a blob.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}
