//! containerd's own client, each call bounded.

use crate::{Handler, Outcome, Parts, Versions, image, record, run};
use anyhow::{Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What CRI would set on a pod's first container, and what keeps gVisor's Create from hanging when there is no
/// terminal: without it the shim gives `runsc create` a pipe as its output, the sandbox inherits that pipe, and the shim
/// waits for its end.
pub const SANDBOX: &str = "io.kubernetes.cri.container-type=sandbox";

/// `ctr` on one host, in one containerd namespace.
#[derive(Clone, Debug)]
pub struct Ctr {
    program: PathBuf,
    versions: Versions,
    folder: PathBuf,
    socket: PathBuf,
    namespace: String,
}

/// One line of `ctr task ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLine {
    /// The task's id.
    pub id: String,
    /// Its pid as containerd knows it.
    pub pid: i32,
    /// `RUNNING`, `STOPPED`, ...
    pub status: String,
}

impl Ctr {
    /// `folder` holds the configurations of handlers.
    pub(crate) fn new(parts: &Parts, folder: &Path, socket: PathBuf, namespace: &str) -> Self {
        Self {
            program: parts.ctr.clone(),
            versions: parts.versions.clone(),
            folder: folder.to_owned(),
            socket,
            namespace: namespace.to_owned(),
        }
    }

    /// The same client in another containerd namespace (`k8s.io` holds what CRI made).
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The containerd namespace that it works in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `ctr` with these arguments, not yet started.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--address").arg(&self.socket);
        command.args(["--namespace", &self.namespace]).args(args);
        command
    }

    /// Runs `ctr` for at most `limit`.
    pub fn call(&self, args: &[&str], limit: Duration) -> Result<Outcome> {
        run(&mut self.command(args), b"", limit)
    }

    /// The arguments of a `ctr run` of `id` that works: flags, image, id, then the command.
    pub fn run_args(&self, handler: &Handler, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let mut args = self.bare_run_args(handler, flags, id, command);
        args.splice(1..1, ["--annotation".to_owned(), SANDBOX.to_owned()]);
        args
    }

    /// The same without the annotation: with neither that nor a terminal, gVisor's Create hangs forever.
    pub fn bare_run_args(
        &self,
        handler: &Handler,
        flags: &[&str],
        id: &str,
        command: &[&str],
    ) -> Vec<String> {
        let config = handler.config_path(&self.folder);
        let mut args: Vec<String> =
            ["run", "--runtime", handler.runtime_type(), "--runtime-config-path"].map(str::to_owned).into();
        args.push(config.to_string_lossy().into_owned());
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        args.extend([image::NAME.to_owned(), id.to_owned()]);
        args.extend(command.iter().map(|word| (*word).to_owned()));
        args
    }

    /// Starts a stand-alone container in the background.
    pub fn start(&self, handler: &Handler, id: &str, command: &[&str]) -> Result<()> {
        let limit = crate::patience(Duration::from_secs(60));
        self.run_detached(handler, &["--annotation", SANDBOX], id, command, limit)?.ok()?;
        Ok(())
    }

    /// `ctr run --detach --null-io` with more flags about the container, for at most `limit`; where gVisor's shim does
    /// not take what that says, the same in its single steps.
    pub fn run_detached(
        &self,
        handler: &Handler,
        flags: &[&str],
        id: &str,
        command: &[&str],
        limit: Duration,
    ) -> Result<Outcome> {
        const IO: [&str; 2] = ["--detach", "--null-io"];
        if !self.versions.ctr_cannot_name_a_configuration() {
            let flags: Vec<&str> = IO.iter().chain(flags).copied().collect();
            let args = self.bare_run_args(handler, &flags, id, command);
            return run(&mut self.command(&args), b"", limit);
        }
        let mut create = vec!["container", "create", "--runtime", handler.runtime_type()];
        create.extend(flags);
        // Without it containerd 1.6 takes the `-c` of `sh -c` for its own.
        create.extend(["--", image::NAME, id]);
        create.extend(command);
        self.call(&create, limit)?.ok()?;
        self.call(&["snapshots", "label", id, "containerd.io/gc.root=kept"], limit)?.ok()?;
        record::name_configuration(&self.socket, &self.namespace, id, &handler.config_path(&self.folder))?;
        let start: Vec<&str> = ["task", "start"].into_iter().chain(IO).chain([id]).collect();
        self.call(&start, limit)
    }

    /// `ctr task kill`.
    pub fn kill(&self, id: &str, signal: &str, limit: Duration) -> Result<Outcome> {
        self.call(&["task", "kill", "--signal", signal, id], limit)
    }

    /// `ctr task delete`: only a task that has exited.
    pub fn delete_task(&self, id: &str, limit: Duration) -> Result<Outcome> {
        self.call(&["task", "delete", id], limit)
    }

    /// `ctr task delete --force`: SIGKILL, wait for the exit, delete.
    pub fn force_delete_task(&self, id: &str, limit: Duration) -> Result<Outcome> {
        self.call(&["task", "delete", "--force", id], limit)
    }

    /// `ctr container delete`.
    pub fn delete_container(&self, id: &str) -> Result<()> {
        self.call(&["container", "delete", id], crate::patience(Duration::from_secs(10)))?.ok()?;
        Ok(())
    }

    /// SIGKILL, delete, forget: the ordinary end of a container.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.force_delete_task(id, crate::patience(Duration::from_secs(20)))?.ok()?;
        self.delete_container(id)
    }

    /// `ctr task exec` without a terminal.
    pub fn exec(
        &self,
        id: &str,
        exec_id: &str,
        command: &[&str],
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Outcome> {
        let mut args = vec!["task", "exec", "--exec-id", exec_id, id];
        args.extend(command);
        run(&mut self.command(&args), stdin, limit)
    }

    /// `ctr task ls`.
    pub fn tasks(&self, limit: Duration) -> Result<Vec<TaskLine>> {
        let text = self.call(&["task", "ls"], limit)?.ok()?;
        text.lines()
            .skip(1)
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    [id, pid, status] => {
                        Ok(TaskLine { id: id.to_owned(), pid: pid.parse()?, status: status.to_owned() })
                    }
                    _ => bail!("`ctr task ls` printed {line:?}"),
                }
            })
            .collect()
    }

    /// Ids of the containers that containerd knows in this namespace.
    pub fn containers(&self) -> Result<Vec<String>> {
        let text =
            self.call(&["container", "ls", "--quiet"], crate::patience(Duration::from_secs(10)))?.ok()?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
