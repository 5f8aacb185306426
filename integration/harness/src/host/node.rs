//! A host as a node of its own: with a [`Root`], its programs, configuration and socket are where every node has them.

use super::Host;
use crate::{Root, private_etc, traces::MARK};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// Where a node looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// containerd's socket on a node.
const SOCKET: &str = "/run/containerd/containerd.sock";

impl Host {
    /// The root that it was built with.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().context("this host has the machine's own root")
    }

    /// containerd's socket.
    pub fn socket(&self) -> PathBuf {
        match &self.root {
            Some(_) => self.run_folder().join("containerd.sock"),
            None => self.path().join("c.sock"),
        }
    }

    /// The same by the name that containerd itself has for it.
    pub(super) fn address(&self) -> PathBuf {
        if self.root.is_some() { SOCKET.into() } else { self.socket() }
    }

    /// containerd's configuration.
    pub fn config_file(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.path().join("etc/containerd/config.toml"),
            None => self.path().join("containerd.toml"),
        }
    }

    /// `program` as somebody on the node would start it, while containerd runs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        if self.root.is_none() {
            return Ok(Command::new(program));
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.containerd()?.pid)).arg(program);
        command.env("PATH", PATH).env(MARK, self.tag());
        Ok(command)
    }

    /// containerd: on a node it finds its configuration by itself.
    pub(super) fn containerd_command(&self) -> Result<Command> {
        let program = &self.parts.containerd;
        if let Some(root) = &self.root {
            let mut command = root.node(&self.run_folder(), program);
            command.env("PATH", PATH);
            return Ok(command);
        }
        let mut command = match self.etc() {
            etc if etc.is_dir() => private_etc::command(program, &etc),
            _ => Command::new(program),
        };
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.path().join("bin")).chain(std::env::split_paths(&inherited));
        command.args(self.state_flag().iter().flat_map(|state| [Path::new("--state"), state]));
        command.arg("--config").arg(self.config_file()).env("PATH", std::env::join_paths(path)?);
        Ok(command)
    }

    /// Where containerd's state is, if it was told so by a flag.
    pub(super) fn state_flag(&self) -> Option<PathBuf> {
        self.state_by_flag.then(|| self.path().join("s"))
    }

    /// gVisor's programs and containerd's client for the root of a node, and its service manager, which is there while
    /// there is a [`crate::Service`].
    pub(super) fn equip(&self, root: &Root) -> Result<()> {
        let systemctl = self.path().join("systemctl");
        for program in [&self.parts.runsc, &self.parts.real_shim, &self.parts.ctr, &systemctl] {
            root.link(program, Path::new("usr/local/bin"))?;
        }
        Ok(())
    }

    /// What a node has at /run/containerd.
    fn run_folder(&self) -> PathBuf {
        self.path().join("run")
    }
}
