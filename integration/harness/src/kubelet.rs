//! A real kubelet over a host's containerd: stand-alone, its pods are static ones.
//!
//! It gets a mount namespace, because of what it would otherwise do to the node: it sets kernel parameters, has
//! its device plugins' folder under /var/lib and links to logs under /var/log.

use crate::{Host, eventually, host::tail, parts};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

/// Makes the mount namespace (in `$1`; hosts are below `$2`), then becomes the kubelet. A namespace begins as a copy
/// and would hold the mounts of every sandbox of this machine.
const APART: &str = r#"
set -eu
room=$1 hosts=$2
shift 2
awk -v below="$hosts/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount --lazy --quiet || : # some are gone by now
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops; do
    cat "/proc/sys/$name" > "$room/kernel/${name##*/}"
    mount --bind "$room/kernel/${name##*/}" "/proc/sys/$name"
done
for folder in lib log; do
    mount --bind "$room/$folder" "/var/$folder"
done
exec "$@"
"#;

/// A kubelet; dropping it ends it, and leaves its pods to the host.
#[derive(Debug)]
pub struct Kubelet {
    program: PathBuf,
    room: TempDir,
    node: String,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Kubelet {
    /// Starts one over the host's containerd, whose `default_runtime_name` its pods will have.
    pub fn start(host: &Host) -> Result<Self> {
        // Not below the host's folder: a kubelet is no part of what sandboxes may leave behind.
        let room = tempfile::Builder::new().prefix("kubelet").tempdir()?;
        for folder in ["certificates", "kernel", "lib", "log", "manifests", "plugins", "root"] {
            std::fs::create_dir(room.path().join(folder))?;
        }
        let kubelet = Self {
            program: parts::kubelet()?,
            // As a node's name must be.
            node: host.tag().to_lowercase(),
            // Free now, and the kubelet takes it at once.
            port: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port(),
            room,
            child: Mutex::new(None),
        };
        std::fs::write(kubelet.path("config"), kubelet.config(host).to_string())?;
        kubelet.run()?;
        Ok(kubelet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn config(&self, host: &Host) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", host.socket().display()),
            "staticPodPath": self.path("manifests"),
            "podLogsDir": self.path("log/pods"),
            "volumePluginDir": self.path("plugins"),
            // No API server, no TLS: only what is read, on loopback.
            "enableServer": false,
            "address": "127.0.0.1",
            "readOnlyPort": self.port,
            "healthzPort": 0,
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            // The node is not this kubelet's own: pods under the host's own cgroup, and nothing evicted.
            "cgroupRoot": format!("/{}", host.tag()),
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            "oomScoreAdj": 0,
            "localStorageCapacityIsolation": false,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%" },
        })
    }

    /// Starts the program and waits until it serves.
    fn run(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("kubelet.log"))?;
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", APART, "sh"])
            .arg(self.room.path())
            .arg(std::env::temp_dir())
            .arg(&self.program)
            .arg("--config")
            .arg(self.path("config"))
            .arg("--root-dir")
            .arg(self.path("root"))
            .arg("--cert-dir")
            .arg(self.path("certificates"))
            .args(["--hostname-override", &self.node])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start unshare, of util-linux")?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        eventually(Duration::from_secs(60), "the kubelet answers", || self.pods().ok())
            .with_context(|| self.last_words())?;
        Ok(())
    }

    /// Ends it by SIGKILL, whatever it is about to do.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It is our own unreaped child, and `unshare` and `sh` have become it: its pid is certain.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it by SIGKILL and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        self.run()
    }

    /// Puts the manifest of a pod, in one step.
    pub fn put(&self, name: &str, manifest: &Value) -> Result<()> {
        let hidden = self.path("manifests").join(format!(".{name}"));
        std::fs::write(&hidden, manifest.to_string())?;
        std::fs::rename(&hidden, self.manifest(name))?;
        Ok(())
    }

    /// Takes the manifest of a pod away, which is how a static pod is deleted.
    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.manifest(name)).context("no such manifest")
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.path("manifests").join(format!("{name}.json"))
    }

    /// What it calls the pod of that manifest.
    pub fn pod_name(&self, name: &str) -> String {
        format!("{name}-{}", self.node)
    }

    /// What it says of its pods, as in its answer to `GET /pods`.
    pub fn pods(&self) -> Result<Vec<Value>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /pods HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        ensure!(head.contains(" 200 OK"), "{head}");
        let pods: Value = serde_json::from_str(body)?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// Everything that it has logged, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("kubelet.log")).unwrap_or_default()
    }

    /// The end of that, for messages.
    pub fn last_words(&self) -> String {
        format!("the kubelet's last words:\n{}", tail(&self.log(), 40))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.kill();
    }
}
