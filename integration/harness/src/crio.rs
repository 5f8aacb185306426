//! CRI-O as a shim sees it (`internal/oci/runtime_vm.go`, `runtime_type = "vm"`, with what containerd 1.7's
//! `shim.Command` makes of it): one `start` and one connection for each container, its own way to Create, stop and
//! delete, no `delete` action, no address and nobody who takes events. There is no containerd.

use crate::{
    Handler, Host, TaskClient, binary, eventually, private_etc, process::Process, run, traces::MARK,
};
use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::{api, protobuf::well_known_types::any::Any};
use protobuf::Message;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::Signal,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// `namespaces.Default`.
pub(crate) const NAMESPACE: &str = "default";
/// The one file that the guard reads.
const CONFIG: &str = "/etc/crio/runsc-guard.toml";
const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();
/// What a person would not take for an answer any more.
const ANSWERED: Duration = Duration::from_secs(60);

/// The daemon: a process that sees an /etc of its own, and starts shims.
#[derive(Debug)]
pub struct Crio<'a> {
    host: &'a Host,
    daemon: Child,
}

/// A container of CRI-O's, and its connection to the shim.
pub struct CrioContainer {
    /// 64 digits.
    pub id: String,
    /// Where its config.json is.
    pub bundle: PathBuf,
    /// What `start` has answered.
    pub address: String,
    task: Arc<TaskClient>,
    config: Option<PathBuf>,
    /// Its log and its output, as long as CRI-O is there to read them.
    _open: Vec<File>,
}

impl<'a> Crio<'a> {
    /// Starts one whose handler is this one; the host has no containerd.
    pub fn start(host: &'a Host, handler: &Handler) -> Result<Self> {
        host.add_handler(handler)?;
        let (etc, bin) = (host.etc().join("crio"), host.path().join("rootfs/bin"));
        fs::create_dir_all(&etc)?;
        fs::copy(host.config_path(handler), etc.join("runsc-guard.toml"))?;
        if !bin.exists() {
            fs::create_dir_all(&bin)?;
            fs::copy("/bin/busybox", bin.join("busybox"))?;
            for applet in ["sleep", "echo", "true"] {
                symlink("busybox", bin.join(applet))?;
            }
        }
        let daemon = private_etc::command(Path::new("sleep"), &host.etc())
            .arg("infinity")
            .env(MARK, host.tag())
            .stdin(Stdio::null())
            .spawn()?;
        let pid = daemon.id().cast_signed();
        eventually(ANSWERED, "a mount namespace with its own /etc", || {
            let process = Process::read(pid)?;
            (process.args.first()? == "sleep").then_some(())
        })?;
        Ok(Self { host, daemon })
    }

    /// It is killed; its sandboxes live on.
    pub fn dies(mut self) -> Result<()> {
        Process::read(self.daemon.id().cast_signed()).context("it is gone")?.signal(Signal::KILL)?;
        self.daemon.wait()?;
        Ok(())
    }

    /// The sandbox of a pod, whose handler has this `runtime_config_path`; `start` was called.
    pub fn sandbox(&self, name: &str, config: Option<&str>) -> Result<CrioContainer> {
        let id = self.id(name);
        self.container(&id, &id, "sandbox", &["sleep", "1000000"], config)
    }

    /// The sandbox of a pod, of a handler that is as its page says.
    pub fn pod(&self, name: &str) -> Result<CrioContainer> {
        self.sandbox(name, Some(CONFIG))
    }

    /// A container of that pod; `start` was called.
    pub fn member(&self, pod: &CrioContainer, name: &str, args: &[&str]) -> Result<CrioContainer> {
        self.container(&self.id(name), &pod.id, "container", args, Some(CONFIG))
    }

    fn id(&self, name: &str) -> String {
        let hash = Sha256::digest(format!("{}/{name}", self.host.tag()));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn container(
        &self,
        id: &str,
        pod: &str,
        kind: &str,
        args: &[&str],
        config: Option<&str>,
    ) -> Result<CrioContainer> {
        let bundle = self.host.path().join("overlay-containers").join(id).join("userdata");
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), self.spec(id, pod, kind, args).to_string())?;
        for name in ["log", "stdout", "stderr"] {
            mknodat(CWD, bundle.join(name), FileType::Fifo, Mode::RWXU, 0)?;
        }
        let address = self.start_shim(id, &bundle)?;
        CrioContainer::connect(id, bundle, address, config)
    }

    /// `client.Command`, and `cmd.Output`.
    fn start_shim(&self, id: &str, bundle: &Path) -> Result<String> {
        let bin = self.host.path().join("bin");
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.daemon.id()));
        command.arg(format!("--wdns={}", bundle.display()));
        command.arg(bin.join("containerd-shim-runsc-guard-v2"));
        command.args(["-namespace", NAMESPACE, "-address", "", "-publish-binary", "/usr/bin/crio"]);
        command.args(["-id", id, "start"]);
        command
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH")?))
            .envs([("GOMAXPROCS", "2"), ("MAX_SHIM_VERSION", "2"), ("TTRPC_ADDRESS", "")])
            .envs([("GRPC_ADDRESS", ""), ("NAMESPACE", NAMESPACE), (MARK, self.host.tag())]);
        Ok(run(&mut command, b"", ANSWERED)?.ok()?.trim().to_owned())
    }

    /// As CRI-O writes it, without what is the same for any engine.
    fn spec(&self, id: &str, pod: &str, kind: &str, args: &[&str]) -> serde_json::Value {
        let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin"], "cwd": "/",
                "noNewPrivileges": true,
            },
            "root": { "path": self.host.path().join("rootfs"), "readonly": true },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": format!("/{}/crio-{}", self.host.tag(), &id[..12]),
                "namespaces": namespaces,
            },
            "annotations": {
                "io.kubernetes.cri-o.ContainerType": kind,
                "io.kubernetes.cri-o.SandboxID": pod,
                "io.kubernetes.cri-o.KubeName": "crios-pod",
                "io.kubernetes.cri-o.Namespace": "crios",
            },
        })
    }
}

impl Drop for Crio<'_> {
    fn drop(&mut self) {
        // Our own child, and unreaped unless it has died.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl CrioContainer {
    fn connect(id: &str, bundle: PathBuf, address: String, config: Option<&str>) -> Result<Self> {
        let read = |name| {
            // For writing, too: opening does not wait for the shim.
            OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(bundle.join(name))
        };
        let open = ["log", "stdout", "stderr"].map(read).into_iter().collect::<std::io::Result<_>>()?;
        let task = Arc::new(TaskClient::at(&address, 2)?);
        Ok(Self { id: id.to_owned(), bundle, address, task, config: config.map(PathBuf::from), _open: open })
    }

    /// As CRI-O finds it again after a restart: by the file `address` in the bundle.
    pub fn found_again(id: &str, bundle: &Path) -> Result<Self> {
        let address = fs::read_to_string(bundle.join("address"))?.trim().to_owned();
        Self::connect(id, bundle.to_owned(), address, None)
    }

    /// One request without a timeout on the wire, as CRI-O makes them; `limit` is the scenario's.
    pub fn asks<Q, A>(
        &self,
        method: &'static str,
        request: Q,
        limit: Duration,
    ) -> Result<Result<A, ttrpc::Error>>
    where
        Q: Message,
        A: Message,
    {
        let (task, (answers, answer)) = (Arc::clone(&self.task), mpsc::channel());
        thread::spawn(move || answers.send(task.call(method, &request, Duration::ZERO)));
        answer.recv_timeout(limit).with_context(|| format!("{method} is not answered within {limit:?}"))
    }

    /// `CreateContainer`, whose context ends after `timeout` (`container_create_timeout`).
    pub fn create(&self, timeout: Duration) -> Result<u32, ttrpc::Error> {
        let fifo = |name: &str| self.bundle.join(name).display().to_string();
        let options = self.config.as_ref().map(|path| Any::parse_from_bytes(&binary::options(path)));
        let mut create = api::CreateTaskRequest {
            bundle: self.bundle.display().to_string(),
            stdout: fifo("stdout"),
            stderr: fifo("stderr"),
            options: options.and_then(Result::ok).into(),
            ..Default::default()
        };
        create.id.clone_from(&self.id);
        let created: api::CreateTaskResponse = self.task.call("Create", &create, timeout)?;
        Ok(created.pid)
    }

    /// `CreateContainer` and `StartContainer`.
    pub fn runs(self) -> Result<Self> {
        self.create(Duration::from_secs(240)).context("Create")?;
        let start = api::StartRequest { id: self.id.clone(), ..Default::default() };
        let _: api::StartResponse = self.asks("Start", start, ANSWERED)??;
        Ok(self)
    }

    /// `ExecSyncContainer`.
    pub fn exec(&self, exec: &str, args: &[&str]) -> Result<u32> {
        self.task.exec(&self.id, exec, args, ANSWERED)
    }

    /// `UpdateContainerStatus`.
    pub fn state(&self, limit: Duration) -> Result<api::StateResponse> {
        let request = api::StateRequest { id: self.id.clone(), ..Default::default() };
        Ok(self.asks("State", request, limit)??)
    }

    /// `kill`; with 0 it is `IsContainerAlive`.
    pub fn kill(&self, signal: u32, limit: Duration) -> Result<Result<api::Empty, ttrpc::Error>> {
        self.asks("Kill", api::KillRequest { id: self.id.clone(), signal, ..Default::default() }, limit)
    }

    /// `StopContainer`: nothing if it has ended, else SIGTERM, `grace` for the exit, SIGKILL, `limit` for that. It tells the status.
    pub fn stop(&self, grace: Duration, limit: Duration) -> Result<u32> {
        let state = self.state(limit)?;
        if state.status.enum_value() == Ok(api::Status::STOPPED) {
            return Ok(state.exit_status);
        }
        let (task, (exits, exit)) = (Arc::clone(&self.task), mpsc::channel());
        let wait = api::WaitRequest { id: self.id.clone(), ..Default::default() };
        thread::spawn(move || exits.send(task.call::<_, api::WaitResponse>("Wait", &wait, Duration::ZERO)));
        self.kill(15, limit)??;
        if let Ok(exited) = exit.recv_timeout(grace) {
            return Ok(exited?.exit_status);
        }
        self.kill(9, limit)??;
        let exited = exit.recv_timeout(limit).with_context(|| format!("no exit within {limit:?}"))?;
        Ok(exited?.exit_status)
    }

    /// `deleteContainer`: Delete and Shutdown on its connection, which ends then; what the first one answered.
    pub fn delete(self, limit: Duration) -> Result<Result<api::DeleteResponse, ttrpc::Error>> {
        let delete = api::DeleteRequest { id: self.id.clone(), ..Default::default() };
        let deleted = self.asks("Delete", delete, limit)?;
        let shutdown = api::ShutdownRequest { id: self.id.clone(), ..Default::default() };
        let shut: Result<api::Empty, _> = self.asks("Shutdown", shutdown, limit)?;
        let is_over =
            matches!(shut, Err(ttrpc::Error::RemoteClosed | ttrpc::Error::Eof | ttrpc::Error::Socket(_)));
        ensure!(shut.is_ok() || is_over, "Shutdown: {shut:?}");
        // CRI-O's storage takes the folder.
        fs::remove_dir_all(&self.bundle)?;
        Ok(deleted)
    }
}
