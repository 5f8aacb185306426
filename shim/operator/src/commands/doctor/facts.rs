//! What is known of a node after one look: everything that `judge` decides on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runsc_guard_node::config::Config;

use crate::containerd::distribution::{Distribution, Place};
use crate::containerd::docker::Docker;
use crate::containerd::dump::Dump;
use crate::containerd::files::{self, Settings};
use crate::containerd::handler::Runtime;
use crate::containerd::process::Containerd;
use crate::gvisor::Built;
use crate::gvisor::config::Mistake;
use crate::survey::Unseen;
use crate::survey::model::Sandbox;

/// The node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// This command runs as root.
    pub(crate) root: bool,
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// containerd.
    pub(crate) containerd: Containerd,
    /// Whose it is.
    pub(crate) distribution: Distribution,
    /// What restarts it.
    pub(crate) restart: String,
    /// containerd's first configuration file.
    pub(crate) settings_file: PathBuf,
    /// What stands in it and what it imports; none where there is no such file (containerd then has its defaults).
    pub(crate) settings: Result<Option<Settings>, String>,
    /// What containerd's own program makes of it, where it could be asked.
    pub(crate) merged: Option<Result<Dump, String>>,
    /// The handlers that the running containerd has in memory, or why its CRI does not tell; none where it was slow.
    pub(crate) memory: Option<Result<BTreeMap<String, Runtime>, String>>,
    /// What Docker is told, where CRI is switched off and Docker is there.
    pub(crate) docker: Option<Result<Docker, String>>,
    /// Each handler of gVisor's.
    pub(crate) handlers: Vec<Handler>,
    /// gVisor's programs as they are found without a handler, where there is none.
    pub(crate) unconfigured: Option<Parts>,
    /// The sandboxes.
    pub(crate) sandboxes: Result<Vec<Sandbox>, String>,
    /// What of them cannot be seen from here.
    pub(crate) unseen: Option<Unseen>,
}

impl Facts {
    /// Where a change belongs that this file of containerd's would need: not into what is written anew at each start.
    pub(crate) fn place(&self, file: &Path, version: u32) -> String {
        if *file != self.settings_file {
            return file.display().to_string();
        }
        let settings = self.settings.as_ref().ok().and_then(Option::as_ref);
        let head = settings.map(|settings| settings.head.as_str()).unwrap_or_default();
        let rendered = file.display();
        match self.distribution.place(file, head, version) {
            Place::Itself => rendered.to_string(),
            Place::Template { file, .. } => {
                format!("{}, of which {rendered} is made anew at each start", file.display())
            }
            Place::Folder(folder) => {
                format!("a file in {}, of which {rendered} is made anew at each start", folder.display())
            }
            Place::Elsewhere(why) => format!("what {rendered} is made of ({why})"),
        }
    }
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

/// A handler with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Handler {
    /// As it stands in containerd's configuration.
    pub(crate) defined: files::Handler,
    /// The guard's program; of no meaning where the handler has none.
    pub(crate) guard: Result<PathBuf, String>,
    /// The file that ConfigPath names.
    pub(crate) config: Result<Config, String>,
    /// gVisor's programs.
    pub(crate) parts: Parts,
    /// What of that file gVisor will not read, or will refuse.
    pub(crate) mistakes: Vec<Mistake>,
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
    /// Whether runsc is root's alone: nothing else is run.
    pub(crate) trusted: bool,
    /// What `runsc --version` prints.
    pub(crate) version: Result<String, String>,
    /// The release of one that does not tell it.
    pub(crate) built: Option<Built>,
    /// What is not beside runsc and should be.
    pub(crate) missing: Option<PathBuf>,
}
