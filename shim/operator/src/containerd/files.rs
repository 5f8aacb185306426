//! containerd's own configuration, as far as it matters here: runtime handlers and timeouts, from the file and all
//! that it imports, merged as containerd merges them (`cmd/containerd/server/config/config.go`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use runsc_guard_sandbox::sys::file;
use serde::{Deserialize, Serialize};

/// No real one comes near.
const MAX_FILE: u64 = 4 << 20;
/// Where containerd's configuration is unless somebody says otherwise.
pub(crate) const USUAL: &str = "/etc/containerd/config.toml";
/// The guard's program.
pub(crate) const GUARD: &str = "containerd-shim-runsc-guard-v2";
/// The guard's runtime type.
pub(crate) const GUARDS_TYPE: &str = "io.containerd.runsc-guard.v2";
/// The only type of options that gVisor's shims before 2026 take.
pub(crate) const TYPE_URL: &str = "io.containerd.runsc.v1.options";
/// The runtime type of gVisor's own shim.
pub(crate) const GVISORS_TYPE: &str = "io.containerd.runsc.v1";

/// Names of the table that holds the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Table {
    /// Files of version 1.
    Cri,
    /// Files of version 2.
    GrpcCri,
    /// Files of version 3 and later.
    CriRuntime,
}

impl Table {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Cri, Self::GrpcCri, Self::CriRuntime];

    /// Where handlers stand in a file of this version.
    pub(crate) fn of_version(version: u32) -> Self {
        match version {
            3.. => Self::CriRuntime,
            2 => Self::GrpcCri,
            _ => Self::Cri,
        }
    }

    /// The plugin's name.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::GrpcCri => "io.containerd.grpc.v1.cri",
            Self::CriRuntime => "io.containerd.cri.v1.runtime",
        }
    }
}

/// What containerd is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The version of the first file.
    pub(crate) version: u32,
    /// Its first line.
    pub(crate) head: String,
    /// Every file that was read.
    pub(crate) files: Vec<PathBuf>,
    /// `[timeouts]`.
    pub(crate) timeouts: BTreeMap<String, String>,
    /// The handlers of gVisor's, guarded or not.
    pub(crate) handlers: Vec<Handler>,
}

/// A runtime handler of gVisor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    /// Its name, which a RuntimeClass names.
    pub(crate) name: String,
    /// The file that defines it.
    pub(crate) file: PathBuf,
    /// The version of that file.
    pub(crate) version: u32,
    /// Under which table it stands.
    pub(crate) table: Table,
    /// Whether the guard stands before gVisor's shim.
    pub(crate) guarded: bool,
    /// The shim by path, where it is not looked for by its name.
    pub(crate) shim_path: Option<PathBuf>,
    /// `options.TypeUrl`.
    pub(crate) type_url: Option<String>,
    /// `options.ConfigPath`.
    pub(crate) config_path: Option<PathBuf>,
}

/// Why containerd's configuration tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file gave no content.
    #[error("{}: {why}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// containerd would not take it either.
    #[error("{}: not a configuration of containerd: {why}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Why, in one line.
        why: String,
    },
}

impl Settings {
    /// Reads `path` and what it imports.
    pub(crate) fn load(path: &Path) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let mut runtimes: BTreeMap<(String, Table), (PathBuf, u32, Runtime)> = BTreeMap::new();
        let mut pending = VecDeque::from([path.to_owned()]);
        let mut known = BTreeSet::new();
        while let Some(path) = pending.pop_front() {
            if !known.insert(path.clone()) {
                continue;
            }
            let one = File::read(&path)?;
            pending.extend(one.imports.iter().flat_map(|import| resolve(&path, import)));
            settings.timeouts.extend(one.timeouts);
            if settings.files.is_empty() {
                settings.version = one.version;
                settings.head = one.head;
            }
            for (table, cri) in one.plugins.tables() {
                for (name, runtime) in cri.containerd.runtimes {
                    let merged = runtimes.entry((name, table)).or_default();
                    let runtime = std::mem::take(&mut merged.2).overridden_by(runtime);
                    *merged = (path.clone(), one.version, runtime);
                }
            }
            settings.files.push(path);
        }
        let handler =
            |((name, table), (file, version, runtime))| Handler::of(name, table, file, version, runtime);
        settings.handlers = runtimes.into_iter().filter_map(handler).collect();
        Ok(settings)
    }

    /// One of containerd's timeouts: the configured one, or its default.
    pub(crate) fn timeout(&self, key: &str, default: Duration) -> Result<Duration, String> {
        match self.timeouts.get(key) {
            None => Ok(default),
            Some(text) => humantime::parse_duration(text).map_err(|_| text.clone()),
        }
    }
}

impl Handler {
    /// Whether containerd looks at the table in which it stands: a file of version 3 is not migrated, and containerd 1
    /// does not know the new table.
    pub(crate) fn is_read(&self, major: Option<u32>) -> bool {
        match self.table {
            Table::CriRuntime => self.version >= 3 || major != Some(1),
            Table::GrpcCri => self.version < 3,
            Table::Cri => self.version < 2,
        }
    }

    fn of(name: String, table: Table, file: PathBuf, version: u32, runtime: Runtime) -> Option<Self> {
        let Runtime { runtime_type, runtime_path, options } = runtime;
        let by_path = [&runtime_path, &runtime_type].into_iter().find(|path| path.starts_with('/'));
        let shim_path = by_path.map(PathBuf::from);
        let program = shim_path.as_deref().and_then(Path::file_name).unwrap_or_default();
        let guarded = runtime_type == GUARDS_TYPE || program == GUARD;
        let is_gvisors = guarded || runtime_type == GVISORS_TYPE || program == "containerd-shim-runsc-v1";
        let set = |text: String| Some(text).filter(|text| !text.is_empty());
        is_gvisors.then(|| Self {
            name,
            file,
            version,
            table,
            guarded,
            shim_path,
            type_url: set(options.type_url),
            config_path: set(options.config_path).map(PathBuf::from),
        })
    }
}

/// As containerd resolves it: relative to the file that imports, a pattern where it has a star.
fn resolve(parent: &Path, import: &str) -> Vec<PathBuf> {
    let path = clean(&parent.parent().unwrap_or(parent).join(import));
    let Some(pattern) = path.to_str().filter(|path| path.contains('*')) else { return vec![path] };
    glob::glob(pattern).map(|found| found.flatten().collect()).unwrap_or_default()
}

/// Without `.` and `..`, as Go's `filepath.Clean` does it: a circle of imports is known by its names.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // Above the root is the root.
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    version: u32,
    #[serde(skip)]
    head: String,
    imports: Vec<String>,
    timeouts: BTreeMap<String, String>,
    plugins: Plugins,
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |why: String| SettingsError::Unreadable { file: path.to_owned(), why };
        let bytes = file::read(path, MAX_FILE).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("not UTF-8".to_owned()))?;
        let head = text.lines().next().unwrap_or_default().to_owned();
        toml::from_str(&text).map(|file| Self { head, ..file }).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
            let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            SettingsError::Syntax { file: path.to_owned(), why: format!("line {}: {why}", line.max(1)) }
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Plugins {
    cri: Cri,
    #[serde(rename = "io.containerd.grpc.v1.cri")]
    grpc_cri: Cri,
    #[serde(rename = "io.containerd.cri.v1.runtime")]
    cri_runtime: Cri,
}

impl Plugins {
    fn tables(self) -> [(Table, Cri); 3] {
        [(Table::Cri, self.cri), (Table::GrpcCri, self.grpc_cri), (Table::CriRuntime, self.cri_runtime)]
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cri {
    containerd: Runtimes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtimes {
    runtimes: BTreeMap<String, Runtime>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtime {
    runtime_type: String,
    runtime_path: String,
    options: Options,
}

impl Runtime {
    /// Of two files that define it, the later one's words count, where it has any.
    fn overridden_by(self, later: Self) -> Self {
        let pick = |earlier: String, later: String| if later.is_empty() { earlier } else { later };
        Self {
            runtime_type: pick(self.runtime_type, later.runtime_type),
            runtime_path: pick(self.runtime_path, later.runtime_path),
            options: Options {
                type_url: pick(self.options.type_url, later.options.type_url),
                config_path: pick(self.options.config_path, later.options.config_path),
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    #[serde(rename = "TypeUrl")]
    type_url: String,
    #[serde(rename = "ConfigPath")]
    config_path: String,
}

#[cfg(test)]
mod tests;
