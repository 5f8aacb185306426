//! containerd's own configuration, as far as it matters here: runtime handlers and timeouts, from the file and all
//! that it imports, merged as that containerd merges them (`cmd/containerd/server/config/config.go`; containerd 1
//! `services/server/config/config.go`). It tells where what stands; what containerd itself makes of it tells its dump.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::handler::Runtime;
pub(crate) use super::handler::{GUARD, GUARDS_TYPE, GVISORS_TYPE, TYPE_URL};

mod file;
mod table;

use file::{File, SettingsError};
pub(crate) use table::Table;

/// Where containerd's configuration is unless somebody says otherwise.
pub(crate) const USUAL: &str = "/etc/containerd/config.toml";

/// What to do with a file of version 1, as one without `version` is: containerd 1 reads no full names in it.
pub(crate) const RAISE: &str = "put `version = 2` on its first line, and give plugins their full names, in \
                                disabled_plugins, too ([plugins.cri] becomes [plugins.\"io.containerd.grpc.v1.cri\"])";

/// A handler's name as TOML has it in a table's head.
pub(crate) fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_bare { name.to_owned() } else { format!("{name:?}") }
}

/// A line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line; 0 where only the file is known.
    pub(crate) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
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
    /// `[timeouts]`, and where each stands.
    pub(crate) timeouts: BTreeMap<String, (String, Place)>,
    /// `disabled_plugins`.
    pub(crate) disabled: Vec<(String, Place)>,
    /// Whether it names any handler, of whomever's: containerd 1 then has no other.
    pub(crate) names_handlers: bool,
    /// The handlers of gVisor's, guarded or not.
    pub(crate) handlers: Vec<Handler>,
    /// Those that containerd 1 forgets, because a file that is imported brings the whole table anew; and which file.
    pub(crate) lost: Vec<(Handler, PathBuf)>,
}

/// A runtime handler of gVisor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    /// Its name, which a RuntimeClass names.
    pub(crate) name: String,
    /// The file that defines it.
    pub(crate) file: PathBuf,
    /// Its line there; 0 where that is not known.
    pub(crate) line: usize,
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

/// A handler while files are merged.
type Merging = BTreeMap<(String, Table), (Place, u32, Runtime)>;

impl Settings {
    /// Reads `path` and what it imports, as a containerd of this major version does; where that is not known, as 2.
    pub(crate) fn load(path: &Path, major: Option<u32>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let mut runtimes = Merging::new();
        let mut pending = VecDeque::from([path.to_owned()]);
        let mut known = BTreeSet::new();
        while let Some(path) = pending.pop_front() {
            if !known.insert(path.clone()) {
                continue;
            }
            let one = File::read(&path)?;
            pending.extend(one.imports.iter().flat_map(|import| resolve(&path, import)));
            let at = |line| Place { file: path.clone(), line };
            settings
                .timeouts
                .extend(one.timeouts.into_iter().map(|(key, (text, line))| (key, (text, at(line)))));
            settings.disabled.extend(one.disabled.into_iter().map(|(plugin, line)| (plugin, at(line))));
            if settings.files.is_empty() {
                (settings.version, settings.head) = (one.version, one.head);
            }
            for (table, handlers) in one.tables {
                if major == Some(1) && !settings.files.is_empty() {
                    settings.forget(&mut runtimes, table, &handlers, &path);
                }
                for (name, (runtime, line)) in handlers {
                    let merged = runtimes.entry((name, table)).or_default();
                    let runtime = std::mem::take(&mut merged.2).overridden_by(runtime);
                    *merged = (at(line), one.version, runtime);
                }
            }
            settings.files.push(path);
        }
        settings.names_handlers = !runtimes.is_empty();
        settings.handlers = runtimes.into_iter().filter_map(Handler::of).collect();
        Ok(settings)
    }

    /// containerd 1 puts a plugin's table of an imported file in the place of the one that it has.
    fn forget<T>(&mut self, runtimes: &mut Merging, table: Table, stay: &BTreeMap<String, T>, by: &Path) {
        let gone = runtimes.extract_if(.., |(_, of), _| *of == table);
        let gone: Vec<_> =
            gone.filter(|((name, _), _)| !stay.contains_key(name)).filter_map(Handler::of).collect();
        self.lost.extend(gone.into_iter().map(|handler| (handler, by.to_owned())));
    }

    /// Where containerd's CRI is switched off, if it is, by whichever of its names.
    pub(crate) fn has_no_cri(&self) -> Option<&Place> {
        let is_cri = |plugin: &str| Table::ALL.iter().any(|table| table.plugin() == plugin);
        self.disabled.iter().find(|(plugin, _)| is_cri(plugin)).map(|(_, place)| place)
    }

    /// One of containerd's timeouts: the configured one, or its default.
    pub(crate) fn timeout(&self, key: &str, default: Duration) -> Result<Duration, String> {
        match self.timeouts.get(key) {
            None => Ok(default),
            Some((text, _)) => duration::parse(text).ok_or_else(|| text.clone()),
        }
    }
}

impl Handler {
    /// Whether containerd looks at the table in which it stands: a file of version 3 is not migrated, and containerd 1
    /// does not know the new table.
    pub(crate) fn is_read(&self, major: Option<u32>) -> bool {
        match self.table {
            Table::CriRuntime => self.version >= 3 || major != Some(1),
            Table::GrpcCri => self.version == 2 || self.version < 2 && major != Some(1),
            Table::Cri => self.version < 2,
            Table::Docker => true,
        }
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line }
    }

    /// One of gVisor's, if it is one.
    pub(crate) fn of(
        ((name, table), (place, version, runtime)): ((String, Table), (Place, u32, Runtime)),
    ) -> Option<Self> {
        let type_url = runtime.options.as_ref().map(|options| options.type_url.clone());
        [GUARDS_TYPE, GVISORS_TYPE].contains(&runtime.kind()).then(|| Self {
            name,
            file: place.file,
            line: place.line,
            version,
            table,
            guarded: runtime.is_guard(),
            shim_path: runtime.shim_path().map(Path::to_owned),
            type_url: type_url.filter(|url| !url.is_empty()),
            config_path: runtime.config_path().map(Path::to_owned),
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

#[cfg(test)]
mod tests;
