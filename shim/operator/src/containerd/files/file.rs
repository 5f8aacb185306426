//! One file of containerd's configuration: what of it matters here, with the line of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::sys::file;
use serde::Deserialize;
use toml::Spanned;

use super::super::handler::Runtime;
use super::table::Table;

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

/// No real one comes near.
const MAX_FILE: u64 = 4 << 20;

/// A file. Each line is beside what stands in it.
pub(super) struct File {
    pub(super) version: u32,
    pub(super) head: String,
    pub(super) imports: Vec<String>,
    pub(super) disabled: Vec<(String, usize)>,
    pub(super) timeouts: BTreeMap<String, (String, usize)>,
    /// The handlers of each table of CRI that it has.
    pub(super) tables: Vec<(Table, Handlers)>,
}

/// The handlers of a table, each with its line.
pub(super) type Handlers = BTreeMap<String, (Runtime, usize)>;

impl File {
    /// Reads one.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |why: String| SettingsError::Unreadable { file: path.to_owned(), why };
        let bytes = file::read(path, MAX_FILE).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("not UTF-8".to_owned()))?;
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let raw: Raw = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line(span.start));
            let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            SettingsError::Syntax { file: path.to_owned(), why: format!("line {line}: {why}") }
        })?;
        let told = |value: Spanned<String>| (line(value.span().start), value.into_inner());
        let handler = |(name, runtime): (String, Spanned<Runtime>)| {
            let line = line(runtime.span().start);
            (name, (runtime.into_inner(), line))
        };
        let Plugins { cri, grpc_cri, cri_runtime } = raw.plugins;
        let all = [(Table::Cri, cri), (Table::GrpcCri, grpc_cri), (Table::CriRuntime, cri_runtime)];
        let tables = all.into_iter().filter_map(|(table, cri)| {
            Some((table, cri?.containerd.runtimes.into_iter().map(handler).collect()))
        });
        Ok(Self {
            version: raw.version,
            head: text.lines().next().unwrap_or_default().to_owned(),
            imports: raw.imports,
            disabled: raw.disabled_plugins.into_iter().map(told).map(|(line, name)| (name, line)).collect(),
            timeouts: raw
                .timeouts
                .into_iter()
                .map(|(key, value)| (key, told(value)))
                .map(|(key, (line, value))| (key, (value, line)))
                .collect(),
            tables: tables.collect(),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    version: u32,
    imports: Vec<String>,
    disabled_plugins: Vec<Spanned<String>>,
    timeouts: BTreeMap<String, Spanned<String>>,
    plugins: Plugins,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Plugins {
    cri: Option<Cri>,
    #[serde(rename = "io.containerd.grpc.v1.cri")]
    grpc_cri: Option<Cri>,
    #[serde(rename = "io.containerd.cri.v1.runtime")]
    cri_runtime: Option<Cri>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cri {
    containerd: Runtimes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtimes {
    runtimes: BTreeMap<String, Spanned<Runtime>>,
}
