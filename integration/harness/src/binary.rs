//! The guard's binary as containerd runs it: `start` and `delete`, by hand.

use crate::{Host, Outcome, run};
use anyhow::{Result, ensure};
use containerd_shim_protos::api;
use protobuf::Message as _;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What `delete` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The pid of the task.
    pub pid: u32,
    /// Its status.
    pub exit_status: u32,
    /// When it ended: seconds and nanoseconds since the epoch.
    pub exited_at: (i64, i32),
    /// What it wrote for containerd's log.
    pub note: String,
    /// How long it took.
    pub took: Duration,
}

impl Deleted {
    /// Pid, status and time: what containerd publishes.
    pub fn exit(&self) -> (u32, u32, (i64, i32)) {
        (self.pid, self.exit_status, self.exited_at)
    }
}

/// The command with containerd's flags, environment and working directory, without an action.
pub fn command(host: &Host, namespace: &str, id: &str, cwd: &Path) -> Result<Command> {
    let socket = host.socket();
    let mut command = Command::new(host.path().join("bin/containerd-shim-runsc-guard-v2"));
    command
        .args(["-namespace", namespace, "-address"])
        .arg(&socket)
        .args(["-publish-binary", "containerd", "-id", id])
        .env("PATH", format!("{}:{}", host.path().join("bin").display(), std::env::var("PATH")?))
        .env("TTRPC_ADDRESS", format!("{}.ttrpc", socket.display()))
        .env("RUNSC_GUARD_HOST", host.tag())
        .current_dir(cwd);
    Ok(command)
}

/// Runs `start` for container `id` with the bundle `bundle`.
pub fn start(host: &Host, namespace: &str, id: &str, bundle: &Path, limit: Duration) -> Result<Outcome> {
    run(command(host, namespace, id, bundle)?.arg("start"), b"", limit)
}

/// Runs `delete` for container `id`, from a folder that is not the bundle: that one may be gone.
pub fn delete(host: &Host, namespace: &str, id: &str, bundle: &Path) -> Result<Deleted> {
    let mut command = command(host, namespace, id, host.path())?;
    let began = Instant::now();
    let output = command.arg("-bundle").arg(bundle).arg("delete").stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "delete {id}: {}: {note}", output.status);
    let answer = api::DeleteResponse::parse_from_bytes(&output.stdout)?;
    let at = answer.exited_at.unwrap_or_default();
    let exited_at = (at.seconds, at.nanos);
    Ok(Deleted { pid: answer.pid, exit_status: answer.exit_status, exited_at, note, took })
}

/// What containerd before 2.3 writes to the stdin of `start` for a handler whose `ConfigPath` is this.
pub fn options(config_path: &Path) -> Vec<u8> {
    let text = |number: u8, value: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        let mut length = value.len();
        while length >= 128 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
        bytes.extend(value);
        bytes
    };
    let options = text(2, config_path.to_string_lossy().as_bytes());
    [text(1, b"runtimeoptions.v1.Options"), text(2, &options)].concat()
}
