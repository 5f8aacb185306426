//! The images that the tests pull, made here of busybox, under the names that they have in their registries.

use anyhow::{Context as _, Result};
use harness::image::{descriptor, digest, file, header};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::Command, time::Duration};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a registry holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By digest; manifests, too.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// The digest of the manifest of `REPOSITORY:TAG`, without the registry's host.
    pub(crate) tags: BTreeMap<String, String>,
}

struct Image {
    names: &'static [&'static str],
    user: &'static str,
    command: &'static [&'static str],
}

const fn image(
    names: &'static [&'static str],
    user: &'static str,
    command: &'static [&'static str],
) -> Image {
    Image { names, user, command }
}

/// Two that the tests ask for are missing: one is named by a digest of somebody else's bytes, the other's program is in
/// no package (nonewprivs). Specs that need them fail under both.
const IMAGES: &[Image] = &[
    image(&["e2e-test-images/busybox:1.29-2"], "", &["sh"]),
    image(&["e2e-test-images/nginx:1.14-2"], "", &["/bin/nginx", "80"]),
    image(&["e2e-test-images/httpd:2.4.39-4"], "", &["/bin/apache"]),
    image(&["k8s-staging-cri-tools/hostnet-nginx-amd64:latest"], "", &["/bin/nginx", "12003"]),
    image(&["k8s-staging-cri-tools/test-image-user-uid:latest"], "1002", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-user-username:latest"], "www-data", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-user-uid-group:latest"], "1003:50000", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-user-username-group:latest"], "www-data:www-data", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-predefined-group:latest"], "1000", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-latest:latest"], "", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-tag:test"], "", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-tag:all"], "", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-1:latest"], "", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-2:latest"], "", &["sh"]),
    image(&["k8s-staging-cri-tools/test-image-3:latest"], "", &["sh"]),
    image(
        &[
            "k8s-staging-cri-tools/test-image-tags:1",
            "k8s-staging-cri-tools/test-image-tags:2",
            "k8s-staging-cri-tools/test-image-tags:3",
        ],
        "",
        &["sh"],
    ),
    image(&["pause:3.9"], "", &["sleep", "1000000"]),
];

/// Listens like the server of that name, and writes its pid where that one does.
const NGINX: &[u8] = b"#!/bin/sh\necho $$ >/var/run/nginx.pid\nhttpd -f -p $1 -h /www\n";
/// Says its name, as that server does when it starts.
const APACHE: &[u8] = b"#!/bin/sh\necho httpd: ready\nexec httpd -f -p 80 -h /www\n";
const USERS: &[u8] =
    b"root:x:0:0:root:/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\n";
const GROUPS: &[u8] =
    b"root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n";

impl Store {
    /// All of [`IMAGES`].
    pub(crate) fn made() -> Result<Self> {
        let mut store = Self::default();
        let layer = layer()?;
        for image in IMAGES {
            let config = json!({
                "architecture": "amd64",
                "os": "linux",
                // The name, so that no two images are the same.
                "config": { "Cmd": image.command, "Env": ["PATH=/bin"], "User": image.user, "Labels": { "name": image.names[0] } },
                "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
            });
            let config = serde_json::to_vec(&config)?;
            let manifest: Value = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
            });
            store.keep(config);
            let manifest = store.keep(serde_json::to_vec(&manifest)?);
            for name in image.names {
                store.tags.insert((*name).to_owned(), manifest.clone());
            }
        }
        store.keep(layer);
        Ok(store)
    }

    fn keep(&mut self, bytes: Vec<u8>) -> String {
        let name = digest(&bytes);
        self.blobs.insert(name.clone(), bytes);
        name
    }
}

/// Busybox with all its applets.
fn layer() -> Result<Vec<u8>> {
    let busybox =
        std::fs::read("/bin/busybox").context("busybox is missing: install Debian's busybox-static")?;
    let applets =
        harness::run(Command::new("/bin/busybox").arg("--list"), b"", Duration::from_secs(10))?.ok()?;
    let mut layer = tar::Builder::new(Vec::new());
    for folder in
        ["bin/", "etc/", "proc/", "sys/", "dev/", "mnt/", "root/", "tmp/", "var/", "var/run/", "www/"]
    {
        let mut header = header(if folder == "tmp/" { 0o1777 } else { 0o755 }, 0);
        header.set_entry_type(tar::EntryType::Directory);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    file(&mut layer, "bin/busybox", 0o755, &busybox)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(0o777, 0);
        header.set_entry_type(tar::EntryType::Symlink);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    for (name, mode, bytes) in [
        ("bin/nginx", 0o755, NGINX),
        ("bin/apache", 0o755, APACHE),
        ("etc/passwd", 0o644, USERS),
        ("etc/group", 0o644, GROUPS),
        ("www/index.html", 0o644, b"it works\n"),
    ] {
        file(&mut layer, name, mode, bytes)?;
    }
    Ok(layer.into_inner()?)
}
