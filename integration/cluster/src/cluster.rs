//! A cluster of one node in namespaces of its own: process 1 of its pid namespace is a shell (`node/init.sh`) that starts
//! containerd, the control plane, the kubelet and a registry. When that process ends, all of it does.

use crate::{leaving::Leaving, parts::Programs};
use anyhow::{Context as _, Result, anyhow, ensure};
use harness::{Outcome, checkout, eventually, patience, run};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use std::{
    fs,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What the node is configured with; TOKEN and TAG are put in.
const CONFIGURATION: &[&str] = &[
    "10-bridge.conflist",
    "admission.yaml",
    "containerd.toml",
    "hosts.toml",
    "kubeconfig",
    "kubelet.yaml",
    "tokens.csv",
];
/// Five seconds on a quiet machine.
const STARTS: Duration = Duration::from_secs(180);
/// A command that is typed.
pub(crate) const TYPED: Duration = Duration::from_secs(240);

/// Whose containerd the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The usual one.
    Usual,
    /// One whose places and service are those of k3s.
    K3s,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::K3s => "k3s",
        }
    }
}

/// A running cluster; dropping it ends it.
pub(crate) struct Cluster {
    folder: TempDir,
    tag: String,
    /// `unshare`, which ends with the node's process 1.
    child: Mutex<Child>,
    leaving: Leaving,
    /// Process 1 of the node, as this machine counts.
    pid: u32,
}

impl Cluster {
    /// Starts one and waits until its node is ready.
    pub(crate) fn start(programs: &Programs, layout: Layout, leaving: &Leaving) -> Result<Self> {
        let cache = checkout().join(".cache/cluster");
        fs::create_dir_all(&cache)?;
        let folder = tempfile::Builder::new().prefix("rgk").rand_bytes(5).tempdir_in(&cache)?;
        let tag = folder.path().file_name().and_then(|name| name.to_str()).context("no name")?.to_owned();
        for name in ["bin", "etc", "log", "guard"] {
            fs::create_dir(folder.path().join(name))?;
        }
        programs.place(&folder.path().join("bin"), &folder.path().join("guard"))?;
        let token = random()?;
        for name in CONFIGURATION {
            let text = fs::read_to_string(checkout().join("integration/cluster/node/etc").join(name))?;
            fs::write(
                folder.path().join("etc").join(name),
                text.replace("TOKEN", &token).replace("TAG", &tag),
            )?;
        }
        harness::write_image(&folder.path().join("image.tar"))?;
        let log = File::create(folder.path().join("log/init.log"))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork"])
            .args(["--kill-child", "--mount-proc", "bash"])
            .arg(checkout().join("integration/cluster/node/init.sh"))
            .env("FOLDER", folder.path())
            .env("CHECKOUT", checkout())
            .env("TAG", &tag)
            .env("LAYOUT", layout.name())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start setpriv and unshare, of util-linux")?;
        // `unshare` takes its child with it, and is our own until it is waited for.
        leaving.ends(child.id());
        let pid = eventually(Duration::from_secs(10), "the node's process 1", || first_child(child.id()))
            .inspect_err(|_| drop(child.kill()))?;
        let cluster = Self { folder, tag, child: Mutex::new(child), leaving: leaving.clone(), pid };
        let ready = eventually(STARTS, "the node is ready", || {
            cluster.has_ended().then_some(false).or_else(|| cluster.is_ready().then_some(true))
        });
        ensure!(ready.with_context(|| cluster.last_words())?, "it has ended:\n{}", cluster.last_words());
        Ok(cluster)
    }

    fn has_ended(&self) -> bool {
        // Not reaped: whoever kills it must not meet another process of that pid.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(pid) = Pid::from_raw(self.child().id().cast_signed()) else { return true };
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    /// Waits until somebody ends it.
    pub(crate) fn wait(&self) {
        while !self.has_ended() {
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self) -> bool {
        self.folder.path().join("started").exists()
            && self
                .types("kubectl wait --for=condition=Ready node/node --timeout=1s")
                .is_ok_and(|outcome| outcome.success())
            // A pod needs its namespace's account.
            && self.types("kubectl get serviceaccount default").is_ok_and(|outcome| outcome.success())
    }

    /// The pid with which all of it ends.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its logs are, and what it needs beside.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a shell on the node, in the checkout, is started with.
    pub(crate) fn shell(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string()]);
        command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--root"]);
        command.arg(format!("--wdns={}", checkout().display()));
        command.args(["env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"]);
        // With the kubectl plugin, as the page says.
        let plugin = checkout().join("hack/kubernetes");
        command.arg(format!(
            "PATH={}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            plugin.display()
        ));
        // Pages that build the guard take the one that is under test.
        command.arg(format!("RUNSC_GUARD_BIN={}", self.guard().display()));
        command.args(["bash", "-c"]);
        command
    }

    /// The same as a person would type it.
    pub(crate) fn shell_line(&self) -> String {
        let shell = self.shell();
        let words = std::iter::once(shell.get_program()).chain(shell.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ").trim_end_matches(" -c").to_owned()
    }

    fn guard(&self) -> PathBuf {
        self.folder.path().join("guard/containerd-shim-runsc-guard-v2")
    }

    /// Types a line on the node, which is its administrator's workstation too.
    pub(crate) fn types(&self, line: &str) -> Result<Outcome> {
        run(self.shell().arg(line), b"", patience(TYPED))
    }

    /// The same of one that has to succeed, and what it prints.
    pub(crate) fn does(&self, line: &str) -> Result<String> {
        self.types(line)?.ok()
    }

    /// Does something where the node's mounts are.
    pub(crate) fn in_its_mounts<T: Send>(&self, does: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let mounts = File::open(format!("/proc/{}/ns/mnt", self.pid))?;
        let moves = || {
            // Who shares root and working folder with other threads may not move.
            unshare(CloneFlags::CLONE_FS).context("unshare")?;
            setns(mounts, CloneFlags::CLONE_NEWNS).context("setns")?;
            does()
        };
        thread::scope(|scope| scope.spawn(moves).join()).map_err(|_| anyhow!("it has panicked"))?
    }

    /// What `kubectl get` tells of one thing, if it is there.
    pub(crate) fn get(&self, what: &str) -> Result<Option<Value>> {
        let told = self.does(&format!("kubectl get --ignore-not-found -o json {what}"))?;
        if told.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&told)?)) }
    }

    /// Creates what a manifest says.
    pub(crate) fn apply(&self, manifest: &Value) -> Result<()> {
        let mut shell = self.shell();
        run(shell.arg("kubectl apply -f -"), manifest.to_string().as_bytes(), patience(TYPED))?.ok().map(drop)
    }

    /// What the operator's command says of the node's sandboxes, whether it is installed or not.
    pub(crate) fn sandboxes(&self) -> Result<Vec<Value>> {
        let told =
            self.does(&format!("{}/guard/runsc-guard -n k8s.io ls -o json", self.folder.path().display()))?;
        Ok(serde_json::from_str(&told)?)
    }

    /// One log of the node: containerd, kubelet, kube-apiserver ...
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("log").join(format!("{name}.log"))).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let tail = |name: &str| {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            format!("{name}:\n{}\n", lines[lines.len().saturating_sub(12)..].join("\n"))
        };
        ["init", "containerd", "kube-apiserver", "kubelet"].map(tail).concat()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.leaving.over();
        // Its end is that of its pid namespace.
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        if let Some(kept) = std::env::var_os("RUNSC_GUARD_LOGS") {
            let kept = Path::new(&kept).join(&self.tag);
            let _ =
                run(Command::new("cp").arg("-r").arg(self.folder.path().join("log")).arg(kept), b"", TYPED);
        }
        if let Err(error) = remove_cgroups(&self.tag) {
            eprintln!("cgroups of {} are left: {error:#}", self.tag);
        }
    }
}

/// The only process that `parent` has started.
fn first_child(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn random() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

/// Removes the node's cgroups, of which nothing runs any more.
fn remove_cgroups(tag: &str) -> Result<()> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path().join(tag));
    for top in hierarchies.chain([PathBuf::from("/sys/fs/cgroup").join(tag)]).filter(|top| top.is_dir()) {
        // The processes of a pid namespace end a moment after its process 1.
        let began = Instant::now();
        loop {
            match remove_tree(&top) {
                Err(error)
                    if error.kind() == ErrorKind::ResourceBusy
                        && began.elapsed() < Duration::from_secs(10) =>
                {
                    thread::sleep(Duration::from_millis(50));
                }
                done => {
                    ensure!(done.is_ok(), "{}: {done:?}", top.display());
                    break;
                }
            }
        }
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
