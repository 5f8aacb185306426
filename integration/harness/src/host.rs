//! A private containerd with its handlers, in one temporary folder.
//!
//! Everything that a host makes carries its *tag*: paths (the folder's name), the environment of every process
//! (`RUNSC_GUARD_HOST`), the containerd namespace and the pods' cgroups. That is how [`crate::traces`] tells what
//! is this host's own, and how the end of a host ends everything of it and nothing else.

use crate::{
    Access, Cri, Ctr, Fuse, Handler, Parts, Root,
    clear::clear,
    eventually,
    process::Process,
    traces::{MARK, Traces},
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

mod builder;
mod layout;
mod node;

pub use builder::HostBuilder;
pub use layout::Layout;

/// A private containerd; dropping it ends everything that it started.
#[derive(Debug)]
pub struct Host {
    tag: String,
    parts: Parts,
    folder: TempDir,
    root: Option<Root>,
    state_by_flag: bool,
    layout: Option<Layout>,
    handlers: Mutex<BTreeMap<String, Handler>>,
    containerd: Mutex<Option<Child>>,
    fuses: Mutex<Vec<Arc<Fuse>>>,
}

impl Host {
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
        Ctr::new(&self.parts, self.path(), self.socket(), &self.tag)
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

    /// The end of that, for who has to say why something failed.
    pub fn last_words(&self) -> String {
        format!("containerd's last words:\n{}", tail(&self.log(), 40))
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
        handler.config_path(self.path())
    }

    /// Mounts a FUSE file system that shows `source` at `point` (below the host's folder), see [`Fuse`]. It ends
    /// with the host at the latest.
    pub fn fuse(&self, source: &Path, point: &Path, access: Access) -> Result<Arc<Fuse>> {
        let fuse = Arc::new(Fuse::serve(source, &self.path().join(point), access)?);
        self.fuses.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&fuse));
        Ok(fuse)
    }

    /// What there is of it on this machine.
    pub fn traces(&self) -> Traces<'_> {
        Traces { tag: &self.tag, folder: self.path() }
    }

    /// All processes of this host: containerd, shims, guards, runsc, sandboxes, stubs.
    pub fn processes(&self) -> Vec<Process> {
        self.traces().processes()
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
        let left = clear(&self.traces(), &self.bridge());
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
        self.render()?;
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

    /// What lies over /etc, where anything does.
    pub(crate) fn etc(&self) -> PathBuf {
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
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
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
