//! A host as a node of its own: with a [`Root`], its programs, configuration and socket are where every node has them.

use super::{Host, Layout, layout};
use crate::{Root, private_etc, traces::MARK};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// Where a node looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a distribution makes containerd's configuration of.
pub(super) const BASE: &str = "base.toml";
/// containerd's socket on a node.
const SOCKET: &str = "/run/containerd/containerd.sock";

impl Host {
    /// The root that it was built with.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().context("this host has the machine's own root")
    }

    /// containerd's socket.
    pub fn socket(&self) -> PathBuf {
        if let (Some(layout), Some(root)) = (&self.layout, &self.root)
            && layout.socket != SOCKET
        {
            return layout.socket_of(&layout::Node { root: &root.path(), run: &self.own_run_folder() });
        }
        match &self.root {
            Some(_) => self.run_folder().join("containerd.sock"),
            None => self.path().join("c.sock"),
        }
    }

    /// The same by the name that containerd itself has for it.
    pub(super) fn address(&self) -> PathBuf {
        let own = self.layout.map_or(SOCKET, |layout| layout.socket);
        if self.root.is_some() { own.into() } else { self.socket() }
    }

    /// containerd's configuration.
    pub fn config_file(&self) -> PathBuf {
        match &self.root {
            Some(root) => {
                let own = self.layout.map_or("/etc/containerd/config.toml", |layout| layout.config);
                root.path().join(own.trim_start_matches('/'))
            }
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
            let Some(layout) = &self.layout else {
                let mut command = root.node(&self.run_folder(), program);
                command.env("PATH", PATH);
                return Ok(command);
            };
            let own = self.own_run_folder();
            let own = layout.run.map(|run| (run, own.as_path()));
            let mut command = root.node_with(&self.run_folder(), own, program);
            let state = self.path().join("s");
            let flag = |flag: &&str| {
                if *flag == layout::STATE { state.as_os_str() } else { OsStr::new(*flag) }.to_owned()
            };
            command.arg("-c").arg(layout.config).args(layout.flags.iter().map(flag));
            let path = layout.path.map_or(String::new(), |path| format!("{path}:"));
            command.env("PATH", path + PATH);
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
        let managers = ["systemctl", "snap"].map(|name| self.path().join(name));
        let programs = [&self.parts.runsc, &self.parts.real_shim, &self.parts.ctr];
        for program in programs.into_iter().chain(&managers) {
            root.link(program, Path::new("usr/local/bin"))?;
        }
        Ok(())
    }

    /// What a distribution writes before each start of containerd.
    pub(super) fn render(&self) -> Result<()> {
        let (Some(layout), Some(root)) = (&self.layout, &self.root) else { return Ok(()) };
        let base = std::fs::read_to_string(self.path().join(BASE))?;
        layout.prepare(&layout::Node { root: &root.path(), run: &self.own_run_folder() }, &base)
    }

    /// The service that its containerd is, for [`crate::Service`].
    pub(crate) fn unit(&self) -> &'static str {
        self.layout.map_or("containerd", |layout: Layout| layout.unit)
    }

    /// What a node has at [`Layout::run`].
    fn own_run_folder(&self) -> PathBuf {
        self.path().join("own-run")
    }

    /// What a node has at /run/containerd.
    fn run_folder(&self) -> PathBuf {
        self.path().join("run")
    }
}
