//! How a host comes to be.

use super::{Host, Layout, node::BASE};
use crate::{Handler, Parts, Root, disk, image, network, patience, version::Configuration};
use anyhow::{Context as _, Result, bail};
use std::{os::unix::fs::symlink, sync::Mutex, time::Duration};

/// What a host is made of, see [`Host::builder`].
#[derive(Debug)]
pub struct HostBuilder {
    parts: Option<Parts>,
    handlers: Vec<Handler>,
    config: String,
    disks: Vec<(String, u32)>,
    etc: Vec<(String, String)>,
    root: Option<Root>,
    state_by_flag: bool,
    layout: Option<Layout>,
    another_engine: bool,
}

impl HostBuilder {
    /// Other parts than the pinned ones.
    pub fn parts(mut self, parts: Parts) -> Self {
        self.parts = Some(parts);
        self
    }

    /// Adds a handler; CRI knows it by its name.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Appends to containerd's configuration.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Gives each of these folders of the host a disk of its own of so many MiB, which can be filled.
    pub fn small_disks(mut self, folders: &[&str], mib: u32) -> Self {
        self.disks = folders.iter().map(|folder| ((*folder).to_owned(), mib)).collect();
        self
    }

    /// Has containerd, and all that it starts, see a file with this text at this path below /etc.
    pub fn etc(mut self, path: &str, text: &str) -> Self {
        self.etc.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Makes the host a node with this root: its programs, containerd's configuration and its socket are where every
    /// node has them, and the guard is brought by who wants it.
    pub fn root(mut self, root: Root) -> Self {
        self.root = Some(root);
        self
    }

    /// Tells containerd by a flag where its state is, and not by its configuration (k0s, MicroK8s).
    pub fn state_by_flag(mut self) -> Self {
        self.state_by_flag = true;
        self
    }

    /// Makes the node one of this distribution's; it needs a root.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Leaves containerd out: another engine is to run the shims, see [`crate::Crio`].
    pub fn without_containerd(mut self) -> Self {
        self.another_engine = true;
        self
    }

    /// Starts containerd and imports the image.
    pub fn start(self) -> Result<Host> {
        let parts = match self.parts {
            Some(parts) => parts,
            None => Parts::pinned()?,
        };
        if self.handlers.iter().any(Handler::is_guarded) && !parts.guard.is_file() {
            bail!(
                "no guard at {}: build it with hack/build, or name one in RUNSC_GUARD_BIN",
                parts.guard.display()
            );
        }
        let folder = tempfile::Builder::new().prefix("rg").rand_bytes(6).tempdir()?;
        let tag =
            folder.path().file_name().and_then(|name| name.to_str()).context("no folder name")?.to_owned();
        let mut host = Host {
            tag,
            parts,
            folder,
            root: self.root,
            state_by_flag: self.state_by_flag,
            layout: self.layout,
            handlers: Mutex::default(),
            containerd: Mutex::new(None),
            fuses: Mutex::default(),
        };
        for (folder, mib) in &self.disks {
            disk::mount_small(&host.path().join(folder), *mib)?;
        }
        for (path, text) in &self.etc {
            let path = host.etc().join(path);
            std::fs::create_dir_all(path.with_file_name(""))?;
            std::fs::write(path, text)?;
        }
        host.lay_out(&self.handlers, &self.config)?;
        if !self.another_engine {
            host.start_containerd()?;
            host.import_image()?;
        }
        Ok(host)
    }
}

impl Host {
    /// A host with the pinned parts and no handler.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            parts: None,
            handlers: Vec::new(),
            config: String::new(),
            disks: Vec::new(),
            etc: Vec::new(),
            root: None,
            state_by_flag: false,
            layout: None,
            another_engine: false,
        }
    }

    /// One with these handlers.
    pub fn with(handlers: impl IntoIterator<Item = Handler>) -> Result<Self> {
        handlers.into_iter().fold(Self::builder(), HostBuilder::handler).start()
    }

    /// One with the handler `guarded`, which has this `kill_deadline`.
    pub fn guarded(kill_deadline: &str) -> Result<Self> {
        Self::with([Handler::quick("guarded", kill_deadline)])
    }

    /// One with this handler, and with `unguarded`, which is gVisor's own shim.
    pub fn pair(handler: Handler) -> Result<Self> {
        Self::with([handler, Handler::unguarded("unguarded")])
    }

    fn lay_out(&mut self, handlers: &[Handler], extra: &str) -> Result<()> {
        if let Some(root) = &self.root {
            self.equip(root)?;
        } else {
            let bin = self.path().join("bin");
            std::fs::create_dir(&bin)?;
            symlink(&self.parts.runsc, bin.join("runsc"))?;
            symlink(&self.parts.unguarded_shim, bin.join("containerd-shim-runsc-v1"))?;
            symlink(&self.parts.guard, bin.join("containerd-shim-runsc-guard-v2"))?;
        }
        for handler in handlers {
            self.add_handler(handler)?;
        }
        network::write_config(
            &self.path().join("cni"),
            &self.path().join("ipam"),
            &self.bridge(),
            &self.subnet(),
        )?;
        let config = self.parts.versions.containerd_config(&Configuration {
            folder: self.path(),
            socket: &self.address(),
            pause_image: image::NAME,
            handlers: handlers
                .iter()
                .map(|handler| (handler.name.as_str(), handler.runtime_type(), self.config_path(handler)))
                .collect(),
        });
        let file = self.config_file();
        std::fs::create_dir_all(file.with_file_name(""))?;
        let config = match self.state_flag() {
            Some(state) => config.replace(&format!("state = {state:?}"), "state = \"/run/containerd\""),
            None => config,
        };
        // Where a distribution makes the configuration, this is what it has in mind.
        let file = if self.layout.is_some() { self.path().join(BASE) } else { file };
        std::fs::write(file, config + extra)?;
        Ok(())
    }

    fn import_image(&self) -> Result<()> {
        let archive = self.path().join("image.tar");
        image::write_archive(&archive)?;
        let archive = archive.to_string_lossy();
        for namespace in ["k8s.io", &self.tag] {
            self.ctr()
                .in_namespace(namespace)
                .call(&["images", "import", &archive], patience(Duration::from_secs(30)))?
                .ok()?;
        }
        Ok(())
    }
}
