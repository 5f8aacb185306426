//! What is known of a node after one look: everything that `judge` decides on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use runsc_guard_node::config::Config;

use super::settings::{self, Settings};
use crate::model::Sandbox;
use crate::survey::Unseen;

/// The node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// This command runs as root.
    pub(crate) root: bool,
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// containerd.
    pub(crate) containerd: Containerd,
    /// containerd's first configuration file.
    pub(crate) settings_file: PathBuf,
    /// What stands in it and what it imports; none where there is no such file (containerd then has its defaults).
    pub(crate) settings: Result<Option<Settings>, String>,
    /// Each handler of gVisor's.
    pub(crate) handlers: Vec<Handler>,
    /// gVisor's programs as they are found without a handler, where there is none.
    pub(crate) unconfigured: Option<Parts>,
    /// The sandboxes.
    pub(crate) sandboxes: Result<Vec<Sandbox>, String>,
    /// What of them cannot be seen from here.
    pub(crate) unseen: Option<Unseen>,
}

/// What the kernel has.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// pidfds.
    pub(crate) pidfds: bool,
    /// `user.max_user_namespaces`.
    pub(crate) user_namespaces: Option<u64>,
    /// How cgroups are mounted.
    pub(crate) cgroups: Cgroups,
    /// There is a /dev/kvm.
    pub(crate) kvm: bool,
}

/// See [`Kernel::cgroups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// Not at all.
    None,
    /// Version 1.
    V1,
    /// Version 1, with version 2 beside it.
    Hybrid,
    /// Version 2.
    V2,
}

/// containerd.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    /// Its socket.
    pub(crate) address: PathBuf,
    /// What came back from there.
    pub(crate) greeting: Greeting,
    /// The process that listens there.
    pub(crate) process: Option<Process>,
}

/// What a greeting on containerd's socket was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// gRPC's greeting.
    Answered,
    /// Nothing, for so long.
    Silent(Duration),
    /// There is no socket.
    Absent,
    /// Nobody listens there.
    Refused,
    /// Something else.
    Broken(String),
}

/// containerd's process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Its pid.
    pub(crate) pid: i32,
    /// R, S, D, T, ...
    pub(crate) state: char,
    /// What it runs.
    pub(crate) exe: PathBuf,
    /// Where it looks for shims: its working directory, its PATH, beside itself.
    pub(crate) path: OsString,
    /// Its effective capabilities.
    pub(crate) capabilities: Option<u64>,
    /// What `containerd --version` prints.
    pub(crate) version: Result<String, String>,
}

/// A handler with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Handler {
    /// As it stands in containerd's configuration.
    pub(crate) defined: settings::Handler,
    /// The guard's program; of no meaning where the handler has none.
    pub(crate) guard: Result<PathBuf, String>,
    /// The file that ConfigPath names.
    pub(crate) config: Result<Config, String>,
    /// gVisor's programs.
    pub(crate) parts: Parts,
    /// `platform` of `[runsc_config]`.
    pub(crate) platform: Option<String>,
    /// Whether reports can be written.
    pub(crate) reports: Result<(), String>,
}

/// gVisor's programs.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The real shim.
    pub(crate) shim: Result<PathBuf, String>,
    /// runsc.
    pub(crate) runsc: Result<PathBuf, String>,
    /// What `runsc --version` prints.
    pub(crate) version: Result<String, String>,
}
