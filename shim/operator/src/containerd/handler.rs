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
/// The guard's program.
pub(crate) const GUARD: &str = "containerd-shim-runsc-guard-v2";
/// gVisor's own.
const SHIM: &str = "containerd-shim-runsc-v1";

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
    /// The runtime type of the shim that containerd runs for it: the guard's or gVisor's also where only its path is told,
    /// and one of gVisor's whose shim has some other name.
    pub(crate) fn kind(&self) -> &str {
        let program = self.shim_path().and_then(Path::file_name);
        match (program, self.runtime_type.as_str()) {
            (Some(program), _) if program == GUARD => GUARDS_TYPE,
            (Some(program), _) if program == SHIM => GVISORS_TYPE,
            (Some(_), GUARDS_TYPE) => GVISORS_TYPE,
            (_, named) => named,
        }
    }

    /// Whether the guard stands before gVisor's shim.
    pub(crate) fn is_guard(&self) -> bool {
        self.kind() == GUARDS_TYPE
    }

    /// Whether it is the guard, with this file.
    pub(crate) fn is_guard_with(&self, config_path: &Path) -> bool {
        self.is_guard() && self.config_path() == Some(config_path)
    }

    /// The shim by path, where it is not looked for by its type. `runtime_path` wins (containerd
    /// `plugins/services/tasks/local.go`).
    pub(crate) fn shim_path(&self) -> Option<&Path> {
        let paths = [&self.runtime_path, &self.runtime_type].into_iter().map(Path::new);
        paths.into_iter().find(|path| path.is_absolute())
    }

    /// ConfigPath, where there is one.
    pub(crate) fn config_path(&self) -> Option<&Path> {
        let path = self.options.as_ref().map(|options| options.config_path.as_str());
        path.filter(|path| !path.is_empty()).map(Path::new)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shims_path_wins_over_its_type() {
        let (guard, shim) = ("/opt/containerd-shim-runsc-guard-v2", "/opt/containerd-shim-runsc-v1");
        for (runtime_type, runtime_path, kind) in [
            (GUARDS_TYPE, "", GUARDS_TYPE),
            (GVISORS_TYPE, "", GVISORS_TYPE),
            (GUARDS_TYPE, shim, GVISORS_TYPE),
            (GUARDS_TYPE, "/opt/wrapped", GVISORS_TYPE),
            (GVISORS_TYPE, "/opt/wrapped", GVISORS_TYPE),
            (GVISORS_TYPE, guard, GUARDS_TYPE),
            (guard, "", GUARDS_TYPE),
            (guard, shim, GVISORS_TYPE),
            ("io.containerd.runc.v2", "/opt/runc", "io.containerd.runc.v2"),
        ] {
            let runtime = Runtime {
                runtime_type: runtime_type.into(),
                runtime_path: runtime_path.into(),
                options: Some(Options { config_path: "/c".into(), ..Options::default() }),
            };
            assert_eq!(runtime.kind(), kind, "{runtime_type} {runtime_path}");
            assert_eq!(runtime.is_guard_with(Path::new("/c")), kind == GUARDS_TYPE);
            assert!(!runtime.is_guard_with(Path::new("/d")));
        }
    }
}
