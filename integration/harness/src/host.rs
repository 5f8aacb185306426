//! A private containerd with its handlers, in one temporary folder.
//!
//! Everything that a host makes carries its *tag*: paths (the folder's name), the environment of every process
//! (`RUNSC_GUARD_HOST`), the containerd namespace and the pods' cgroups. That is how [`crate::leaks`] tells what
//! is this host's own, and how the end of a host ends everything of it and nothing else.

use crate::{
    Access, Cri, Ctr, Fuse, Handler, Parts, Root, disk, eventually, image, leaks, network, patience,
    process::Process, version::Configuration,
};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

mod node;

/// In the environment of everything that a host's containerd starts.
pub(crate) const MARK: &str = "RUNSC_GUARD_HOST";

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
        host.start_containerd()?;
        host.import_image()?;
        Ok(host)
    }
}

/// A private containerd; dropping it ends everything that it started.
#[derive(Debug)]
pub struct Host {
    tag: String,
    parts: Parts,
    folder: TempDir,
    root: Option<Root>,
    state_by_flag: bool,
    handlers: Mutex<BTreeMap<String, Handler>>,
    containerd: Mutex<Option<Child>>,
    fuses: Mutex<Vec<Arc<Fuse>>>,
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
        }
    }

    /// What all that is this host's own carries in its name.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The folder that holds everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The programs that it runs.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// `ctr` in this host's own namespace, which is its tag.
    pub fn ctr(&self) -> Ctr {
        Ctr::new(self.parts.ctr.clone(), self.socket(), &self.tag)
    }

    /// A CRI client.
    pub fn cri(&self) -> Result<Cri> {
        Cri::connect(&self.socket(), &self.tag)
    }

    /// Runsc's own root for one containerd namespace.
    pub fn runsc_root(&self, namespace: &str) -> PathBuf {
        self.path().join("r").join(namespace)
    }

    /// The bundle of `id`.
    pub fn bundle(&self, namespace: &str, id: &str) -> PathBuf {
        self.path().join("s/io.containerd.runtime.v2.task").join(namespace).join(id)
    }

    /// Where the shim of `id` listens, as a restarted containerd finds it.
    pub fn shim_socket(&self, namespace: &str, id: &str) -> Result<PathBuf> {
        let (address, _) = self.shim_address(namespace, id)?;
        Ok(address.trim_start_matches("unix://").into())
    }

    /// The same as an address, with the version of the task API that is spoken there.
    pub(crate) fn shim_address(&self, namespace: &str, id: &str) -> Result<(String, u64)> {
        self.parts.versions.shim_address(&self.bundle(namespace, id))
    }

    /// What containerd and the shims under it wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("containerd.log")).unwrap_or_default()
    }

    /// The handler of that name.
    pub fn handler(&self, name: &str) -> Result<Handler> {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.get(name).cloned().with_context(|| format!("no handler {name}"))
    }

    /// Adds a handler to the running host, or changes one: for `ctr`, since CRI knows only those that the host
    /// was built with.
    pub fn add_handler(&self, handler: &Handler) -> Result<()> {
        let toml = handler.toml(self.path(), &self.parts.real_shim);
        std::fs::write(self.config_path(handler), toml)?;
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.insert(handler.name.clone(), handler.clone());
        Ok(())
    }

    /// The file that a handler's `ConfigPath` names.
    pub fn config_path(&self, handler: &Handler) -> PathBuf {
        self.path().join(format!("{}.toml", handler.name))
    }

    /// Mounts a FUSE file system that shows `source` at `point` (below the host's folder), see [`Fuse`]. It ends
    /// with the host at the latest.
    pub fn fuse(&self, source: &Path, point: &Path, access: Access) -> Result<Arc<Fuse>> {
        let fuse = Arc::new(Fuse::serve(source, &self.path().join(point), access)?);
        self.fuses.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&fuse));
        Ok(fuse)
    }

    /// All processes of this host: containerd, shims, guards, runsc, sandboxes, stubs.
    pub fn processes(&self) -> Vec<Process> {
        leaks::processes(self)
    }

    /// The running containerd.
    pub fn containerd(&self) -> Result<Process> {
        let containerd = self.containerd.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = containerd.as_ref().context("containerd does not run")?.id();
        Process::read(pid.cast_signed()).context("containerd has ended")
    }

    /// Ends containerd by SIGKILL and starts it again.
    pub fn restart_containerd(&self) -> Result<()> {
        self.stop_containerd();
        self.start_containerd()
    }

    /// Ends containerd by `signal` and waits until it has ended.
    pub fn end_containerd(&self, signal: Signal) -> Result<()> {
        let containerd = self.containerd()?;
        containerd.signal(signal)?;
        containerd.wait_gone(Duration::from_secs(30))?;
        self.stop_containerd();
        Ok(())
    }

    /// Ends everything of this host, wedged or not, and fails if something would not go. The drop does the
    /// same; this is for who must know, or must end a host that others still use: their calls then fail.
    pub fn end(&self) -> Result<()> {
        self.stop_containerd();
        // First: what waits for one cannot be killed.
        for fuse in self.fuses.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            fuse.end()?;
        }
        let left = leaks::clear(self);
        ensure!(left.is_empty(), "{}: could not clear away:\n{left}", self.tag);
        Ok(())
    }

    /// Ends containerd by SIGKILL; the shims live on.
    pub fn stop_containerd(&self) {
        let mut containerd = self.containerd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = containerd.take() {
            // It is our own unreaped child: its pid is certain, and that it may have died is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts containerd and waits until it answers.
    pub fn start_containerd(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path().join("containerd.log"))?;
        let child = self
            .containerd_command()?
            .env(MARK, &self.tag)
            .current_dir(self.path())
            // A Ctrl-C at the terminal is for the program that owns the host: it clears away in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.parts.containerd.display()))?;
        *self.containerd.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let ctr = self.ctr();
        eventually(Duration::from_secs(30), "containerd answers", || {
            let answer = ctr.call(&["plugins", "ls"], Duration::from_secs(5)).ok()?;
            let ready = answer.stdout.lines().any(|line| {
                line.starts_with("io.containerd.grpc.v1") && line.contains(" cri ") && line.contains("ok")
            });
            ready.then_some(())
        })
        .with_context(|| format!("containerd's log:\n{}", tail(&self.log(), 30)))
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
        std::fs::write(file, config + extra)?;
        Ok(())
    }

    /// What lies over /etc, where anything does.
    fn etc(&self) -> PathBuf {
        self.path().join("etc")
    }

    /// At most 15 characters: the tag has 8.
    pub(crate) fn bridge(&self) -> String {
        format!("{}br", self.tag)
    }

    /// Hosts may run side by side; a clash of their subnets would do no harm, since nothing is routed.
    pub(crate) fn subnet(&self) -> String {
        let sum = self.tag.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        format!("10.{}.{}.0/24", 64 + (sum >> 8) % 64, sum % 256)
    }

    /// Where `RUNSC_GUARD_LOGS` names a folder, what would go with the host is kept there.
    fn keep_log(&self) {
        if let Some(folder) = std::env::var_os("RUNSC_GUARD_LOGS") {
            let file = Path::new(&folder).join(format!("{}.log", self.tag));
            if let Err(error) = std::fs::write(&file, self.log()) {
                eprintln!("cannot keep {}: {error}", file.display());
            }
        }
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

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("containerd's last words:\n{}", tail(&self.log(), 40));
        }
        self.keep_log();
        if let Err(error) = self.end() {
            eprintln!("{error}");
        }
    }
}

pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
