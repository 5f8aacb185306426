//! A runtime handler as containerd has it, whoever tells: a file, what containerd makes of its files, its memory, or
//! Docker.

use std::path::Path;

use serde::Deserialize;

/// The guard's runtime type.
pub(crate) const GUARDS_TYPE: &str = "io.containerd.runsc-guard.v2";
/// The only type of options that gVisor's shims before 2026 take.
pub(crate) const TYPE_URL: &str = "io.containerd.runsc.v1.options";
/// The runtime type of gVisor's own shim.
pub(crate) const GVISORS_TYPE: &str = "io.containerd.runsc.v1";

/// A handler. Files have its keys with underscores, containerd's memory and Docker in another way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Runtime {
    /// Its runtime type, or its shim's path.
    #[serde(alias = "runtimeType")]
    pub(crate) runtime_type: String,
    /// Its shim's path, where that is told apart.
    #[serde(alias = "runtimePath")]
    pub(crate) runtime_path: String,
    /// What it passes to the shim.
    pub(crate) options: Option<Options>,
}

impl Runtime {
    /// Whether it is of this type with this file.
    pub(crate) fn is(&self, runtime_type: &str, config_path: &Path) -> bool {
        let path = self.options.as_ref().map(|options| Path::new(&options.config_path));
        self.runtime_type == runtime_type && path == Some(config_path)
    }

    /// Of two files that define it, the later one's words count, where it has any.
    pub(crate) fn overridden_by(self, later: Self) -> Self {
        let pick = |earlier: String, later: String| if later.is_empty() { earlier } else { later };
        let options = match (self.options, later.options) {
            (Some(earlier), Some(later)) => Some(Options {
                type_url: pick(earlier.type_url, later.type_url),
                config_path: pick(earlier.config_path, later.config_path),
            }),
            (earlier, later) => later.or(earlier),
        };
        Self {
            runtime_type: pick(self.runtime_type, later.runtime_type),
            runtime_path: pick(self.runtime_path, later.runtime_path),
            options,
        }
    }
}

/// What a handler passes to the shim. Other keys are another shim's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// Of which type the rest is.
    #[serde(rename = "TypeUrl")]
    pub(crate) type_url: String,
    /// The file with `[guard]` and gVisor's flags.
    #[serde(rename = "ConfigPath")]
    pub(crate) config_path: String,
}
