//! The `[guard]` table, in the same TOML file that `ConfigPath` names for gVisor.
//!
//! gVisor ignores tables that it does not know, and here everything outside `[guard]` is gVisor's, except
//! what says where things lie, which is read too (`gvisors`). An unknown key
//! inside `[guard]` is an error: a deadline that is silently not set is worse than a pod that does not start.
//! Only `start` and `-info` parse TOML; the guard itself gets the result as JSON and keeps it for life.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runsc_guard_core::policy::{Policy, Watchdog};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::teardown::free::Freedoms;

mod annotations;
mod bounds;
mod gvisors;
#[cfg(test)]
mod tests;

pub use annotations::{PREFIX as ANNOTATIONS, apply as apply_annotations};
pub use bounds::{Accepted, Bounds, KEYS};

/// The most that is read; a real one has a few hundred bytes.
const MAX_FILE: u64 = 1 << 20;

/// All that the operator can set. A guard of another version may have written it: what it did not know has its
/// default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The deadlines.
    #[serde(with = "PolicyFields")]
    pub policy: Policy,
    /// The real shim: a name on PATH, or an absolute path.
    pub shim: String,
    /// Where reports of escalations go.
    pub report_dir: PathBuf,
    /// Rung 6: set down the network links of a sandbox that cannot die.
    pub release_network: bool,
    /// Rung 6: abort a hung FUSE connection that is this pod's alone.
    pub abort_fuse: bool,
    /// May a pod shorten its own deadlines.
    pub allow_annotations: bool,
    /// gVisor's `root`, without the namespace.
    pub runsc_root: PathBuf,
    /// `root` in `[runsc_config]`, which wins and is taken as it stands.
    pub runsc_flag_root: Option<PathBuf>,
    /// `allow-flag-override` in `[runsc_config]`: a pod's annotations may set runsc's flags.
    pub runsc_flag_override: bool,
    /// gVisor's `binary_name`.
    pub runsc_binary: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            shim: "containerd-shim-runsc-v1".into(),
            report_dir: "/var/log/runsc-guard".into(),
            release_network: true,
            abort_fuse: true,
            allow_annotations: false,
            runsc_root: "/run/containerd/runsc".into(),
            runsc_flag_root: None,
            runsc_flag_override: false,
            runsc_binary: "runsc".into(),
        }
    }
}

impl Config {
    /// Where runsc works for a namespace of containerd (its `--root`).
    pub fn runsc_root_of(&self, namespace: &str) -> PathBuf {
        self.runsc_flag_root.clone().unwrap_or_else(|| self.runsc_root.join(namespace))
    }
}

impl From<&Config> for Freedoms {
    fn from(config: &Config) -> Self {
        Self { network: config.release_network, fuse: config.abort_fuse }
    }
}

/// [`Policy`] knows nothing of serde: it belongs to a crate that has no I/O.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Policy")]
struct PolicyFields {
    create_deadline: Duration,
    start_deadline: Duration,
    exec_deadline: Duration,
    query_deadline: Duration,
    stats_deadline: Duration,
    signal_deadline: Duration,
    kill_deadline: Duration,
    hard_limit: Option<Duration>,
    delete_deadline: Duration,
    shutdown_deadline: Duration,
    #[serde(with = "WatchdogWords", default = "watchdog")]
    watchdog: Watchdog,
    #[serde(default = "watchdog_after")]
    watchdog_after: Duration,
}

fn watchdog() -> Watchdog {
    Policy::default().watchdog
}

fn watchdog_after() -> Duration {
    Policy::default().watchdog_after
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Watchdog", rename_all = "lowercase")]
enum WatchdogWords {
    Off,
    Report,
    Kill,
}

/// A configuration that cannot be used, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file gave no content.
    #[error("{}: {source}; it is the file that ConfigPath names for this runtime handler", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: file::ReadError,
    },
    /// gVisor's shim would take it from its own folder, which is another one under the guard.
    #[error("{}: ConfigPath must be an absolute path", .0.display())]
    Relative(PathBuf),
    /// Not text.
    #[error("{}:{line}: not UTF-8, which TOML must be", file.display())]
    NotText {
        /// Which file.
        file: PathBuf,
        /// The first line that is not.
        line: usize,
    },
    /// Not TOML.
    #[error("{}:{line}: not TOML: {message}", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A key that the guard does not know.
    #[error("{}:{line}: [guard] {key}: no such key; accepted: {}", file.display(), bounds::KEYS.join(", "))]
    Unknown {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: String,
    },
    /// A key of gVisor's by which the guard would look elsewhere than gVisor works.
    #[error("{}:{line}: {key} = {found}: the guard could not find what gVisor makes; accepted: {accepted}", file.display())]
    Elsewhere {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key, and the table that it is in.
        key: String,
        /// What stands there, shortened.
        found: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// A value that the guard does not take.
    #[error("{}:{line}: [guard] {key} = {found}: not accepted; accepted: {accepted}", file.display())]
    Value {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: String,
        /// What stands there, shortened.
        found: String,
        /// What may stand there.
        accepted: Box<Accepted>,
    },
}

/// Reads the file that `ConfigPath` names; the defaults where it names none.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    if !path.is_absolute() {
        return Err(ConfigError::Relative(path.to_owned()));
    }
    let content = file::read(path, MAX_FILE)
        .map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
    match std::str::from_utf8(&content) {
        Ok(text) => parse(path, text),
        Err(error) => {
            Err(ConfigError::NotText { file: path.to_owned(), line: line_of(&content, error.valid_up_to()) })
        }
    }
}

/// Reads the text of a configuration; `path` is for the error only.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let file = path.to_owned();
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        line: line_of(text.as_bytes(), error.span().map_or(0, |span| span.start)),
        message: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        file: file.clone(),
    })?;
    let mut config = Config::default();
    let source = Source { file, text };
    gvisors::read(&mut config, &source, document.get_ref())?;
    let Some((name, guard)) = document.get_ref().iter().find(|(key, _)| *key.get_ref() == "guard") else {
        return Ok(config);
    };
    let Some(table) = guard.get_ref().as_table() else {
        return Err(source.refuse(name.span().start, "guard", guard, Accepted::Table));
    };
    // In the order of the lines: the first mistake that a reader sees is the first that is told.
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in &entries {
        match bounds::set(&mut config, key.get_ref(), value.get_ref()) {
            Ok(()) => {}
            Err(bounds::Refused::Key) => return Err(source.unknown(key.span().start, key.get_ref())),
            Err(bounds::Refused::Value(accepted)) => {
                return Err(source.refuse(key.span().start, key.get_ref(), value, accepted));
            }
        }
    }
    let is_set = |name: &str| entries.iter().any(|(key, _)| *key.get_ref() == name);
    match bounds::fit_together(&mut config.policy, is_set) {
        Ok(()) => Ok(config),
        Err((at, accepted)) => match entries.iter().find(|(key, _)| *key.get_ref() == at) {
            Some((key, value)) => Err(source.refuse(key.span().start, at, value, accepted)),
            None => Err(source.unknown(name.span().start, at)),
        },
    }
}

/// The text that errors point into.
struct Source<'a> {
    file: PathBuf,
    text: &'a str,
}

impl Source<'_> {
    fn unknown(&self, at: usize, key: &str) -> ConfigError {
        ConfigError::Unknown { file: self.file.clone(), line: self.line(at), key: shorten(key) }
    }

    fn refuse(&self, at: usize, key: &str, value: &Spanned<DeValue<'_>>, accepted: Accepted) -> ConfigError {
        let found = shorten(self.text.get(value.span()).unwrap_or_default());
        ConfigError::Value {
            file: self.file.clone(),
            line: self.line(at),
            key: key.to_owned(),
            found,
            accepted: Box::new(accepted),
        }
    }

    fn line(&self, at: usize) -> usize {
        line_of(self.text.as_bytes(), at)
    }
}

/// In one line of a bounded length: what somebody else may have written.
pub fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if chars.next().is_some() {
        short.push_str("...");
    }
    short
}

fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
