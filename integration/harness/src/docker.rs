//! Docker's own daemon and client over a host's containerd. It uses containerd's image store, in which the host's
//! image is already, and the host's containerd namespace, cgroup, bridge and subnet; the packet filter it leaves
//! alone.

use crate::{Handler, Host, Outcome, ctr, eventually, host::tail, image, parts, run};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{
    fs::File,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Its network over the host's bridge.
const NETWORK: &str = "private";

/// A private Docker; dropping it ends its daemon, and leaves its containers to the host.
#[derive(Debug)]
pub struct Docker {
    client: PathBuf,
    folder: PathBuf,
    daemon: Child,
}

impl Docker {
    /// Starts one over the host's containerd; its runtimes are the host's handlers, by their names.
    pub fn start(host: &Host, handlers: &[&Handler]) -> Result<Self> {
        let runtimes = handlers.iter().map(|handler| {
            let options = json!({
                "TypeUrl": "io.containerd.runsc.v1.options",
                "ConfigPath": host.config_path(handler),
            });
            (handler.name.clone(), json!({ "runtimeType": handler.runtime_type(), "options": options }))
        });
        let runtimes = runtimes.collect::<serde_json::Map<_, _>>();
        Self::with(host, json!({ "runtimes": runtimes }))
    }

    /// The same of an owner's daemon.json, to which is added what keeps this one apart from the machine.
    pub fn with(host: &Host, mut config: Value) -> Result<Self> {
        let programs = parts::docker()?;
        let folder = host.path().join("docker");
        std::fs::create_dir_all(folder.join("bin"))?;
        // Its image builder insists on a `runc`, and nothing here builds images.
        symlink(&host.parts().runsc, folder.join("bin/runc"))?;
        let apart = json!({
            "hosts": [address(&folder)],
            "containerd": host.socket(),
            "containerd-namespace": host.tag(),
            "features": { "containerd-snapshotter": true },
            "data-root": folder.join("data"),
            "exec-root": folder.join("exec"),
            "pidfile": folder.join("pid"),
            "cgroup-parent": format!("/{}", host.tag()),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "bridge": "none",
            "iptables": false,
            "ip6tables": false,
            "ip-forward": false,
            "userland-proxy": false,
        });
        for (key, value) in apart.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        std::fs::write(folder.join("daemon.json"), config.to_string())?;
        let log = File::create(folder.join("log"))?;
        let path = std::env::join_paths(
            std::iter::once(folder.join("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )?;
        let daemon = host
            .command(programs.join("dockerd"))?
            .arg("--config-file")
            .arg(folder.join("daemon.json"))
            .env("PATH", path)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        let docker = Self { client: programs.join("docker"), folder, daemon };
        eventually(Duration::from_secs(30), "dockerd answers", || {
            docker.call(&["version"], Duration::from_secs(5)).ok().filter(Outcome::success)
        })
        .with_context(|| format!("dockerd's last words:\n{}", tail(&docker.log(), 40)))?;
        let bridge = format!("com.docker.network.bridge.name={}", host.bridge());
        let network = ["network", "create", "--subnet", &host.subnet(), "--opt", &bridge, NETWORK];
        docker.call(&network, Duration::from_secs(30))?.ok()?;
        Ok(docker)
    }

    /// `docker` with these arguments, for at most `limit`.
    pub fn call(&self, args: &[&str], limit: Duration) -> Result<Outcome> {
        let mut command = Command::new(&self.client);
        command.arg("--config").arg(self.folder.join("client")).arg("--host").arg(self.address()).args(args);
        run(&mut command, b"", limit)
    }

    /// `docker run` of the host's image, with what gVisor's Create needs where there is no terminal.
    pub fn run(&self, runtime: &str, flags: &[&str], command: &[&str], limit: Duration) -> Result<Outcome> {
        let fixed = ["run", "--network", NETWORK, "--annotation", ctr::SANDBOX, "--runtime", runtime];
        self.call(&[&fixed, flags, &[image::NAME], command].concat(), limit)
    }

    /// The client.
    pub fn client(&self) -> &Path {
        &self.client
    }

    /// Where the daemon listens, as `DOCKER_HOST` takes it.
    pub fn address(&self) -> String {
        address(&self.folder)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("d.sock").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It is our own unreaped child: its pid is certain, and that it may have died is fine.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
